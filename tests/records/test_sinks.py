"""Trackers and terminals are sinks: they may fail or hang, and the records never notice."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.contracts.tracker import Tracker
from altgrad_core.errors import PluginError, RunError
from altgrad_core.records import tracker_thread as tracker_thread
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.sinks import Records
from altgrad_core.records.tracker_thread import TrackerThread, is_any_stuck
from tests.patience import ends_soon, wait_for


class Broken(Tracker):
    """Fails at every record, and when it is closed."""

    def __init__(self) -> None:
        self.calls = 0

    def write(self, record: Mapping[str, Any]) -> None:
        self.calls += 1
        raise ConnectionError("no network")

    def close(self, status: str) -> str | None:
        raise RuntimeError("still no network")


class Polite(Tracker):
    """Keeps what it gets, and says farewell; notes the threads it was called in."""

    def __init__(self) -> None:
        self.got: list[Mapping[str, Any]] = []
        self.threads = {threading.current_thread()}

    def write(self, record: Mapping[str, Any]) -> None:
        self.got.append(record)
        self.threads.add(threading.current_thread())

    def close(self, status: str) -> str | None:
        self.threads.add(threading.current_thread())
        return f"ended {status}"


class Hanging(Polite):
    """Takes one record, and hangs at the next until it is let go."""

    def __init__(self, let_go: threading.Event) -> None:
        super().__init__()
        self.let_go = let_go

    def write(self, record: Mapping[str, Any]) -> None:
        if self.got:
            self.let_go.wait()
        super().write(record)


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Lets whatever hangs go at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()
    wait_for(lambda: not is_any_stuck())


def opened(tmp_path: Path, shown: list[Any], **trackers: Callable[[], Tracker]) -> Records:
    """Records of a directory, with these trackers, which have begun."""
    threads = [TrackerThread(name, build, patience=0.5) for name, build in trackers.items()]
    for thread in threads:
        thread.begin()
    return Records(RunDirectory(tmp_path), trackers=threads, show=shown.append)


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_tracker_that_fails_is_left_out_after_three_failures_and_the_others_go_on(tmp_path: Path) -> None:
    broken, polite, shown = Broken(), Polite(), list[Any]()
    records = opened(tmp_path, shown, broken=lambda: broken, polite=lambda: polite)
    for step in range(5):
        records.happened({"kind": "step", "step": step})
    records.close("finished")
    failed = {"kind": "warning", "message": "tracker broken failed: ConnectionError: no network"}
    left_out = {**failed, "message": f"{failed['message']}; it is left out from here on"}
    lost = f"5 records did not reach it: altgrad track {tmp_path} --to broken"
    farewells = [
        {"kind": "tracker", "tracker": "broken", "message": f"closing failed: RuntimeError: still no network; {lost}"},
        {"kind": "tracker", "tracker": "polite", "message": "ended finished"},
    ]
    assert written(tmp_path / "records.jsonl") == [{"kind": "step", "step": step} for step in range(5)]
    assert written(tmp_path / "clock.jsonl") == [failed, failed, left_out, *farewells]
    assert [record for record in shown if record["kind"] == "warning"] == [failed, failed, left_out]
    assert (broken.calls, len(polite.got)) == (3, 5)


def test_a_tracker_gets_the_lines_of_the_files_in_their_order(tmp_path: Path) -> None:
    polite = Polite()
    records = opened(tmp_path, [], polite=lambda: polite)
    for step in range(1000):
        records.happened({"kind": "step", "step": step, "loss": math.nan, "pair": (1, 2)})
    records.noticed({"kind": "clock", "step": 999, "seconds": 1.5})
    records.close("finished")
    assert polite.got[:-1] == written(tmp_path / "records.jsonl")
    assert polite.got[999] == {"kind": "step", "step": 999, "loss": "NaN", "pair": [1, 2]}
    assert polite.got[-1] == {"kind": "clock", "step": 999, "seconds": 1.5}


def test_a_tracker_is_built_written_to_and_closed_in_one_thread_of_its_own(tmp_path: Path) -> None:
    made: list[Polite] = []
    records = opened(tmp_path, [], polite=lambda: made.append(Polite()) or made[0])  # type: ignore[func-returns-value]
    records.happened({"kind": "step", "step": 1})
    records.close("finished")
    (thread,) = made[0].threads
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_a_tracker_that_hangs_holds_nothing_up_and_is_left_behind(tmp_path: Path, let_go: threading.Event) -> None:
    hanging, shown = Hanging(let_go), list[Any]()
    records = opened(tmp_path, shown, hanging=lambda: hanging, polite=Polite)
    with ends_soon():
        for step in range(100):
            records.happened({"kind": "step", "step": step})
        began = time.monotonic()
        records.close("finished")
        assert time.monotonic() - began >= 0.5  # the patience of its thread
    lost = f"99 records did not reach it: altgrad track {tmp_path} --to hanging"
    assert written(tmp_path / "clock.jsonl") == [
        {"kind": "tracker", "tracker": "hanging", "message": f"did not close in time and is left behind; {lost}"},
        {"kind": "tracker", "tracker": "polite", "message": "ended finished"},
    ]
    assert len(written(tmp_path / "records.jsonl")) == 100
    assert is_any_stuck()


def test_trackers_that_hang_when_they_are_closed_are_waited_for_together(
    tmp_path: Path, let_go: threading.Event
) -> None:
    class Clinging(Polite):
        def close(self, status: str) -> str | None:
            let_go.wait()
            return None

    shown: list[Any] = []
    records = opened(tmp_path, shown, **{f"tracker-{number}": Clinging for number in range(200)})
    with ends_soon():  # one after the other would take 100 s
        records.close("finished")
    assert [record["message"] for record in shown] == ["did not close in time and is left behind"] * 200


def test_records_that_find_no_room_are_left_out_and_counted(
    tmp_path: Path, let_go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_thread, "MOST_WAITING", 10)
    hanging, shown = Hanging(let_go), list[Any]()
    records = opened(tmp_path, shown, hanging=lambda: hanging)
    for step in range(50):
        records.happened({"kind": "step", "step": step})
        if step < 2:
            wait_for(lambda: len(hanging.got) > 0)
    let_go.set()
    records.close("finished")
    warning = "tracker hanging does not keep up: 10 records wait for it, more are left out"
    assert [record["message"] for record in shown if record["kind"] == "warning"] == [warning]
    taken = [record["step"] for record in hanging.got]
    assert taken == sorted(set(taken)) and taken[:10] == list(range(10))  # in order; those without room are missing
    assert len(taken) in (11, 12)  # whether the second was taken from the queue before it was full
    lost = f"{50 - len(taken)} records did not reach it: altgrad track {tmp_path} --to hanging"
    assert shown[-1]["message"] == f"ended finished; {lost}"


def test_a_tracker_that_does_not_begin_in_time_is_refused_and_closed_should_it_ever_begin(
    let_go: threading.Event,
) -> None:
    late = Polite()
    thread = TrackerThread("late", lambda: let_go.wait() and late, patience=0.1)  # type: ignore[arg-type,return-value]
    with pytest.raises(RunError) as caught:
        thread.begin()
    assert str(caught.value) == "it did not begin within 0.1 s"
    let_go.set()
    thread._thread.join(10)
    assert thread._farewell == "ended crashed"


@pytest.mark.parametrize("error", [PluginError("install it"), KeyError("key"), SystemExit(3)])
def test_what_building_a_tracker_raises_is_raised_to_who_waits_for_it(error: BaseException) -> None:
    def build() -> Tracker:
        raise error

    with pytest.raises(type(error)) as caught:
        TrackerThread("sad", build).begin()
    assert caught.value is error


def test_what_is_no_tracker_is_refused() -> None:
    with pytest.raises(RunError, match="build returned None; expected a Tracker"):
        TrackerThread("nothing", lambda: None).begin()  # type: ignore[arg-type,return-value]


def test_a_tracker_that_exits_is_one_that_fails(tmp_path: Path) -> None:
    class Quitter(Polite):
        def write(self, record: Mapping[str, Any]) -> None:
            raise SystemExit(3)

    shown: list[Any] = []
    records = opened(tmp_path, shown, quitter=Quitter)
    records.happened({"kind": "step", "step": 1})
    records.close("finished")
    assert [r["message"] for r in shown if r["kind"] == "warning"] == ["tracker quitter failed: SystemExit: 3"]


def test_an_interrupted_run_waits_less_for_its_trackers(
    tmp_path: Path, let_go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_thread, "HURRY", 0.05)
    hanging = TrackerThread("hanging", lambda: Hanging(let_go), patience=600)
    records = Records(RunDirectory(tmp_path), trackers=[hanging], show=lambda record: None)
    for step in range(2):
        records.happened({"kind": "step", "step": step})
    with ends_soon():
        records.close("interrupted")


def test_closing_on_a_full_disk_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    records = opened(tmp_path, shown, polite=Polite)
    monkeypatch.setattr("altgrad_core.records.sinks.RecordFile.append", _refuse)
    records.close("crashed")
    assert [record["message"] for record in shown] == ["ended crashed"]


def _refuse(*arguments: object) -> None:
    raise OSError(28, "No space left on device")

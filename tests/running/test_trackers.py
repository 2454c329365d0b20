"""What trackers do never changes a run, and what they missed they can be given afterwards."""

from __future__ import annotations

import errno
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from altgrad_core import PluginError
from altgrad_core.contracts.tracker import TrackedRun, Tracker, TrackerSpec
from altgrad_core.records import tracker_thread as thread
from altgrad_core.running.session.track import tracked_run
from tests.patience import wait_for

if TYPE_CHECKING:
    from tests.running.conftest import Runs

Write = Callable[[Mapping[str, Any]], object]


class Sink(Tracker):
    """Does with records what it is told to; keeps how it was closed."""

    def __init__(self, run: TrackedRun, write: Write, ends: list[str]) -> None:
        self.run, self.does, self.ends = run, write, ends

    def write(self, record: Mapping[str, Any]) -> None:
        self.does(record)

    def close(self, status: str) -> str | None:
        self.ends.append(status)
        return None


def sink(name: str, write: Write, facts: list[TrackedRun] | None = None, ends: list[str] | None = None) -> Any:
    """A tracker of this name that does `write` with every record."""
    kept, ended = [] if facts is None else facts, [] if ends is None else ends
    given = name

    class Spec(TrackerSpec):
        """Does as it is told."""

        name: ClassVar = given
        colour: str = "red"

        def build(self, run: TrackedRun) -> Tracker:
            kept.append(run)
            return Sink(run, write, ended)

    return Spec


def tracked(runs: Runs, spec: Any, **options: Any) -> None:
    """Give the runs one tracker more."""
    runs.offers.setdefault("tracker", []).append(spec)
    written = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    runs.text += f'\n[[tracker]]\nuse = "{spec.name}"\n{written}'


def whole(runs: Runs, name: str) -> dict[str, bytes]:
    """The records of a run and every file of every checkpoint that it kept, but for the hash of its manifest."""
    folder = runs.folder / name
    files = [folder / "records.jsonl", *(path for path in (folder / "checkpoints").rglob("*") if path.is_file())]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "checkpoint.json"}
    for place in [place for place in found if place.endswith("progress.json")]:
        found[place] = json.dumps({**json.loads(found[place]), "manifest_sha256": ""}).encode()
    return found


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Lets whatever hangs go at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()
    wait_for(lambda: not thread.is_any_stuck())


@pytest.fixture(scope="module")
def alone(shared_runs: Runs) -> dict[str, bytes]:
    """What the same run leaves behind without a tracker."""
    shared_runs.begin("alone")
    return whole(shared_runs, "alone")


# ---- a sink that fails, hangs or is full ----


def failing(error: BaseException) -> Write:
    def write(record: Mapping[str, Any]) -> None:
        raise error

    return write


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("no network"), "ConnectionError: no network"),
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_a_sink_that_fails_or_is_full_changes_nothing(
    runs: Runs, alone: dict[str, bytes], error: BaseException, told: str
) -> None:
    tracked(runs, sink("sad", failing(error)))
    outcome = runs.begin("tracked")
    assert outcome.status == "finished"
    assert whole(runs, "tracked") == alone
    warnings = [record["message"] for record in runs.clock("tracked") if record["kind"] == "warning"]
    assert warnings == [f"tracker sad failed: {told}"] * 2 + [
        f"tracker sad failed: {told}; it is left out from here on"
    ]


def test_a_sink_that_hangs_changes_nothing(runs: Runs, alone: dict[str, bytes], let_go: threading.Event) -> None:
    tracked(runs, sink("stuck", lambda record: let_go.wait()), patience=0.5)
    outcome = runs.begin("tracked")
    assert outcome.status == "finished"
    assert whole(runs, "tracked") == alone
    (said,) = [record["message"] for record in runs.clock("tracked") if record["kind"] == "tracker"]
    sent = len(runs.records("tracked")) + len(runs.clock("tracked")) - 1
    assert said == (
        f"did not close in time and is left behind; {sent} records did not reach it: "
        f"altgrad track {runs.folder / 'tracked'} --to stuck"
    )


def test_a_sink_that_hangs_before_it_begins_is_left_out(
    runs: Runs, alone: dict[str, bytes], let_go: threading.Event
) -> None:
    class Slow(TrackerSpec):
        """Never begins."""

        name: ClassVar = "slow"

        def build(self, run: TrackedRun) -> Tracker:
            let_go.wait()
            raise RuntimeError("too late")

    tracked(runs, Slow, patience=0.2)
    told: list[str] = []
    outcome = runs.begin("tracked", show=lambda record: told.append(record.get("message", "")))
    assert outcome.status == "finished"
    assert whole(runs, "tracked") == alone
    assert [message for message in told if message] == ["tracker slow is left out: it did not begin within 0.2 s"]


class Full(io.FileIO):
    """A file on a disk that has some room left."""

    room = 0

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data) or 0


@pytest.mark.parametrize(
    ("room", "told"),
    [
        (0, "tracker tensorboard is left out: OSError: [Errno 28] No space left on device"),
        (6000, "tracker tensorboard failed: OSError: [Errno 28] No space left on device"),
    ],
)
def test_tensorboard_on_a_full_disk_changes_nothing(
    runs: Runs, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, room: int, told: str
) -> None:
    pytest.importorskip("tensorboard")
    open_any = Path.open

    def open_full(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        is_ours = "tfevents" in path.name
        return io.BufferedWriter(Full(path, mode)) if is_ours else open_any(path, mode, *arguments, **options)

    monkeypatch.setattr(Full, "room", room)
    monkeypatch.setattr(Path, "open", open_full)
    runs.text += '\n[[tracker]]\nuse = "tensorboard"\n'
    outcome = runs.begin("tracked")
    assert outcome.status == "finished"
    assert whole(runs, "tracked") == alone
    warnings = [record["message"] for record in runs.clock("tracked") if record["kind"] == "warning"]
    assert warnings[0] == told


# ---- what a tracker is told, during the run and afterwards ----


"""By kind, what a sound record has besides its kind and step."""


# ---- the facts of a run ----


def test_the_tags_of_a_run_are_its_formats_and_its_optimizers(tmp_path: Path) -> None:
    manifest = {
        "run": {"name": "demo"},
        "recipe": [
            {"layers": "*", "weight": {"format": "e4m3"}, "gradient": {"format": "e5m2"}},
            {"layers": "lm_head", "weight": {"format": {"exponent_bits": 3, "mantissa_bits": 4}}},
            {"layers": "b", "weight": {"format": {"exponent_bits": 3, "mantissa_bits": 4, "name": "mine"}}},
        ],
        "optimizer": {"use": "adamw", "group": [{"layers": "*", "use": "sgd"}, {"layers": "a", "lr": 1}]},
    }
    facts = tracked_run(manifest, tmp_path)
    assert facts.tags == ("e4m3", "e5m2", "e3m4b3-finite", "mine", "adamw", "sgd")
    assert (facts.name, facts.group) == ("demo", None)


@pytest.mark.parametrize(
    ("content", "group"), [('{"name": "sweep"}', "sweep"), ('{"name": 3}', None), ("{", None), ("[]", None)]
)
def test_the_group_of_a_cell_is_the_name_of_its_study(tmp_path: Path, content: str, group: str | None) -> None:
    (tmp_path / "cells.json").write_text(content)
    facts = tracked_run({"run": {"name": "a"}, "optimizer": {"use": "adamw"}}, tmp_path / "cell")
    assert (facts.group, facts.tags) == (group, ("adamw",))


# ---- a tracker that cannot begin ----


def with_a_sad_tracker(runs: Runs, failure: Exception) -> None:
    class Sad(TrackerSpec):
        """Never begins."""

        name = "sad"

        def build(self, run: object) -> object:  # type: ignore[override]
            raise failure

    runs.offers = {"tracker": [Sad]}
    runs.text += '\n[[tracker]]\nuse = "sad"\n'


def test_a_run_goes_on_without_a_tracker_that_cannot_begin(runs: Runs) -> None:
    with_a_sad_tracker(runs, KeyError("key"))
    told: list[str] = []
    outcome = runs.begin(show=lambda record: told.append(record.get("message", "")))
    assert outcome.status == "finished"
    assert [message for message in told if message] == ["tracker sad is left out: KeyError: 'key'"]


def test_a_tracker_whose_package_is_missing_is_refused_before_anything_is_written(runs: Runs) -> None:
    with_a_sad_tracker(runs, PluginError('sad needs tears: pip install "altgrad[tears]"'))
    with pytest.raises(PluginError) as caught:
        runs.begin()
    assert str(caught.value) == 'sad needs tears: pip install "altgrad[tears]"'
    assert not (runs.folder / "run").exists()

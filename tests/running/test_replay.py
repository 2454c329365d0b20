"""What a tracker receives when a run is replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from altgrad_core.contracts.tracker import TrackedRun, Tracker, TrackerSpec
from altgrad_core.errors import RunError
from altgrad_core.records.directory import RunDirectory
from altgrad_core.results.playback import Playback
from altgrad_core.running.session.track import replay
from tests.running.test_trackers import Sink, failing, sink, tracked

if TYPE_CHECKING:
    from tests.running.conftest import Runs


def test_a_replay_is_what_a_live_tracker_received_but_for_the_clock(runs: Runs) -> None:
    live, again, ends, facts = list[Any](), list[Any](), list[str](), list[TrackedRun]()
    tracked(runs, sink("keen", live.append, facts, ends))
    runs.begin()
    runs.offers["tracker"] = [sink("keen", again.append, facts, ends)]
    (told,) = replay(runs.folder / "run", "keen", settings=(), registry=runs.registry())
    of_the_clock = ("clock", "saved")
    assert [r for r in again if r["kind"] not in of_the_clock] == [r for r in live if r["kind"] not in of_the_clock]
    assert [r for r in again if r["kind"] == "clock"] == [r for r in live if r["kind"] == "clock"]
    assert (told.records, told.farewell, ends) == (len(again), None, ["finished", "finished"])
    assert facts[0] == facts[1]


def test_a_replay_of_an_interrupted_run_is_that_of_one_never_interrupted(runs: Runs) -> None:
    whole_run, resumed = list[Any](), list[Any]()
    runs.begin("whole")
    runs.begin("broken", at=8)
    (runs.folder / "broken" / "checkpoints" / "step-8" / "checkpoint.json").unlink()  # so that steps are taken again
    runs.resume("broken")
    for name, kept in (("whole", whole_run), ("broken", resumed)):
        runs.offers["tracker"] = [sink("keen", kept.append)]
        list(replay(runs.folder / name, "keen", settings=(), registry=runs.registry()))
    assert [(r["kind"], r.get("step")) for r in resumed] == [(r["kind"], r.get("step")) for r in whole_run]


def test_a_run_that_is_not_over_is_replayed_as_far_as_it_is(runs: Runs) -> None:
    kept, ends = list[Any](), list[str]()
    runs.begin(at=5)
    with (runs.folder / "run" / "records.jsonl").open("ab") as file:
        file.write(b'{"kind":"ste')  # as one sees a line that is being written
    runs.offers["tracker"] = [sink("keen", kept.append, ends=ends)]
    list(replay(runs.folder / "run", "keen", settings=(), registry=runs.registry()))
    assert [record["step"] for record in kept if record["kind"] == "step"] == [1, 2, 3, 4, 5]
    assert ends == ["interrupted"]


WHOLE: Mapping[str, Mapping[str, Any]] = {
    "began": {"name": "n", "steps": 3},
    "step": {"loss": 1.0, "learning_rate": 0.1, "gradient_norm": 1.0},
    "evaluation": {"loss": 1.0},
    "clock": {"seconds": 1.0, "tokens_per_second": 1.0},
    "resumed": {"steps": 3},
    "ended": {"status": "finished", "reason": None},
}


def test_clock_lines_stand_behind_the_records_of_their_step(tmp_path: Path) -> None:
    records = [("began", None), ("step", 1), ("step", 2), ("evaluation", 2), ("step", 3), ("ended", 3)]
    clock = [("saved", 0), ("clock", 2), ("saved", 2), ("clock", 3), ("resumed", 2), ("clock", 3), ("warning", None)]
    for name, lines in (("records", records), ("clock", clock)):
        told = [
            {**WHOLE.get(kind, {}), "kind": kind} | ({} if step is None else {"step": step}) for kind, step in lines
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    assert [(r["kind"], r.get("step")) for r in Playback(RunDirectory(tmp_path))] == [
        ("began", None), ("saved", 0), ("step", 1), ("step", 2), ("evaluation", 2), ("clock", 2), ("saved", 2),
        ("step", 3), ("clock", 3), ("ended", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("line", ["{]", "[1]", '{"a":1}', "[" * 9999, '{"kind":"step","step":"x"}'])
def test_a_damaged_line_is_left_out_and_told(runs: Runs, line: str) -> None:
    kept: list[Any] = []
    runs.begin(at=2)
    file = runs.folder / "run" / "records.jsonl"
    file.write_text('{"kind":"began","name":"n","steps":2}\n' + line + '\n{"kind":"note"}\n')
    runs.offers["tracker"] = [sink("keen", kept.append)]
    (told,) = replay(runs.folder / "run", "keen", settings=(), registry=runs.registry())
    assert [record["kind"] for record in kept if "step" not in record] == ["began", "note"]
    assert told.problems == ("records.jsonl: 1 damaged line is left out (line 2)",)


def test_a_sink_that_fails_ends_a_replay(runs: Runs) -> None:
    ends: list[str] = []
    runs.begin(at=2)
    runs.offers["tracker"] = [sink("sad", failing(ConnectionError("no network")), ends=ends)]
    with pytest.raises(RunError) as caught:
        list(replay(runs.folder / "run", "sad", settings=(), registry=runs.registry()))
    where = runs.folder / "run"
    assert str(caught.value) == f"{where}: tracker sad failed after 0 records: ConnectionError: no network"
    assert ends == ["crashed"]


def test_options_of_the_run_hold_in_a_replay_unless_others_are_set(runs: Runs) -> None:
    colours: list[str] = []

    class Painted(TrackerSpec):
        """Notes its colour."""

        name: ClassVar = "painted"
        colour: str = "red"
        depth: int = 1

        def build(self, run: TrackedRun) -> Tracker:
            colours.append(f"{self.colour} {self.depth}")
            return Sink(run, lambda record: None, [])

    tracked(runs, Painted, colour="blue", depth=2)
    runs.begin(at=2)
    list(replay(runs.folder / "run", "painted", settings=["depth=3"], registry=runs.registry()))
    assert colours == ["blue 2", "blue 3"]

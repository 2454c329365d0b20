"""Returning to the last good checkpoint, and going on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad_core.results.lines import RecordReader

if TYPE_CHECKING:
    from tests.conftest import Said

GUARD = "intervention=[{use='roll-back', threshold=1.05, patience=2, factor=0.001}]"
SETTINGS = ("optimizer={use='adamw', lr=3.0}", "run.checkpoint_every=1", "run.keep_checkpoints=9", "monitor=[]")


def run(tiny: Path, out: Path, altgrad: Callable[..., Said], *more: str) -> tuple[Said, list[dict[str, Any]]]:
    told = altgrad("run", tiny, "--out", out, *(part for text in (*SETTINGS, *more) for part in ("--set", text)))
    return told, list(RecordReader(out / "records.jsonl"))


def actions(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["kind"] == "action"]


def test_it_goes_on_from_a_sound_step_with_smaller_rates(
    tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    told, records = run(tiny, tmp_path / "run", altgrad, GUARD)
    assert told.code == 0, told.err
    (rolled,) = actions(records)
    assert (rolled["before"], rolled["after"]) == (1.0, 0.001)
    to, at = rolled["to_step"], rolled["step"]
    assert to == at - 3  # two bad losses, and the weights that gave the first of them
    steps = [record["step"] for record in records if record["kind"] == "step"]
    assert steps == [*range(1, at + 1), *range(to + 1, 7)]
    later = records[records.index(rolled) :]
    rates = [record["learning_rate"] for record in later if record["kind"] == "step"]
    assert rates == [0.003] * len(rates)
    assert max(record["loss"] for record in later if record["kind"] == "step") < 3.0


def test_after_so_many_times_it_stops(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    guard = "intervention=[{use='roll-back', threshold=0.01, patience=1, most=2}]"
    told, records = run(tiny, tmp_path / "run", altgrad, guard)
    assert told.code == 4
    assert [action.get("to_step") for action in actions(records)] == [0, 0, None]
    assert actions(records)[-1]["status"] == "diverged"
    reason = "rolled back 2 times: the loss was above 0.01 ln(vocabulary) for 1 steps in a row"
    assert (records[-1]["status"], records[-1]["reason"]) == ("diverged", reason)


def test_stopped_right_after_it_a_run_resumes_to_the_same_end(
    tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    _, records = run(tiny, tmp_path / "whole", altgrad, GUARD)
    run(tiny, tmp_path / "run", altgrad, GUARD)
    directory = tmp_path / "run"
    to = actions(records)[0]["to_step"]
    (directory / "summary.json").unlink()
    for checkpoint in (directory / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > to + 1:
            for file in checkpoint.iterdir():
                file.unlink()
            checkpoint.rmdir()
    assert altgrad("resume", directory).code == 0
    assert (directory / "records.jsonl").read_bytes() == (tmp_path / "whole" / "records.jsonl").read_bytes()


def test_it_can_be_replayed(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    _, records = run(tiny, tmp_path / "run", altgrad, GUARD)
    told = altgrad("run", tmp_path / "run" / "resolved.toml", "--replay", tmp_path / "run", "--out", tmp_path / "again")
    assert told.code == 0, told.err
    again = list(RecordReader(tmp_path / "again" / "records.jsonl"))
    assert [r for r in records if r["kind"] == "step"] == [r for r in again if r["kind"] == "step"]
    assert len(actions(again)) == 1

"""Records as they grow, and the listing of what is on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from altgrad_core.results.catalogue import RECENT, catalogue
from altgrad_core.results.growing import GrowingRun

BEGAN = {"kind": "began", "name": "a", "steps": 9, "readings": [{"name": "norm", "label": "the norm"}]}


def step(at: int, loss: float = 2.0) -> dict[str, object]:
    return {"kind": "step", "step": at, "loss": loss, "learning_rate": 0.1, "gradient_norm": 1.0}


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "records.jsonl"
    path.parent.mkdir()
    return path


def test_each_look_takes_in_what_is_new_and_leaves_a_torn_line_for_the_next(records: Path) -> None:
    run = GrowingRun(records)
    assert not run.update()
    records.write_text(lines(BEGAN, step(1)) + '{"kind": "st')
    assert run.update()
    assert (run.steps, run.losses, run.status, run.fact("norm").label) == (9, {1: 2.0}, None, "the norm")
    assert not run.update()
    reading = {"kind": "reading", "step": 2, "monitor": "m", "reading": "norm", "values": {"a": 1.0, "b": "NaN"}}
    records.write_text(
        lines(BEGAN, step(1), step(2, 1.5), reading, {"kind": "ended", "status": "finished", "reason": None})
    )
    assert run.update()
    assert (run.losses, run.readings["norm"]["a"], run.status) == ({1: 2.0, 2: 1.5}, {2: 1.0}, "finished")


def test_records_that_became_shorter_are_read_anew(records: Path) -> None:
    run = GrowingRun(records)
    records.write_text(lines(BEGAN, step(1), step(2), step(3)))
    run.update()
    records.write_text(lines(BEGAN, step(1, 9.0)))
    assert run.update()
    assert run.losses == {1: 9.0}


def test_damaged_lines_are_passed_over(records: Path) -> None:
    records.write_text(lines(BEGAN, "no record", {"kind": "step", "step": -1}, step(1)))
    run = GrowingRun(records)
    run.update()
    assert run.losses == {1: 2.0}


def test_the_listing_tells_running_finished_and_left_alone_apart(tmp_path: Path, records: Path) -> None:
    records.write_text(lines(BEGAN, step(1), step(4, 1.25)))
    (records.parent / "resolved.toml").write_text("[run]\nsteps = 9\n")
    study = tmp_path / "deep" / "study"
    (study / "cell").mkdir(parents=True)
    (study / "cells.json").write_text('{"cells": [{}, {}]}')
    (study / "cell" / "records.jsonl").write_text(lines(BEGAN, step(9)))
    (study / "cell" / "summary.json").write_text('{"status": "finished", "validation_loss": 1.5}')
    (tmp_path / "link").symlink_to(study)
    now = max(path.stat().st_mtime for path in tmp_path.rglob("*"))
    found = {listed.place: listed for listed in catalogue(tmp_path, now=now)}
    assert set(found) == {"run", "deep/study", "deep/study/cell"}
    run, cell = found["run"], found["deep/study/cell"]
    assert (run.status, run.step, run.steps, run.loss) == ("running", 4, 9, 1.25)
    assert (cell.status, cell.loss) == ("finished", 1.5)
    assert (found["deep/study"].status, found["deep/study"].ended, found["deep/study"].cells) == ("unfinished", 1, 2)
    later = catalogue(tmp_path, now=now + RECENT + 1)
    assert next(listed for listed in later if listed.place == "run").status == "unfinished"


def test_pipes_and_damage_do_not_stop_the_listing(tmp_path: Path, records: Path) -> None:
    os.mkfifo(records)
    (records.parent / "resolved.toml").write_text("= no TOML")
    (records.parent / "summary.json").write_text("[]")
    (listed,) = catalogue(tmp_path, now=0.0)
    assert (listed.step, listed.steps, listed.loss) == (None, None, None)

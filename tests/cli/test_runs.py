"""`altgrad runs`: what is on the disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from altgrad_core.records.directory import RunDirectory


def test_runs_and_studies_are_listed_and_cells_when_asked(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    for place in ("alone", "study/cell"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "summary.json").write_text('{"status": "finished", "validation_loss": 1.5}')
    (tmp_path / "study/cells.json").write_text('{"cells": [{"name": "cell"}]}')
    told = altgrad("runs", tmp_path).out
    assert "1 of 1 cells" in told and "1.5000" in told and f"{tmp_path}/study/cell" not in told
    listed = json.loads(altgrad("runs", tmp_path, "--cells", "--json").out)
    places = sorted(Path(row["directory"]).relative_to(tmp_path).as_posix() for row in listed)
    assert places == ["alone", "study", "study/cell"]
    assert {row["status"] for row in listed} == {"finished"}


def test_an_empty_or_missing_directory_is_told(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    assert altgrad("runs", tmp_path).out == f"{tmp_path}: no run and no study is in it\n"
    said = altgrad("runs", tmp_path / "none")
    assert (said.code, said.err) == (
        2, f"altgrad: {tmp_path}/none: is not a directory; altgrad run MANIFEST writes into runs\n",
    )  # fmt: skip


def test_a_killed_run_is_unfinished_at_once_and_one_that_is_trained_is_running_however_long_a_step_takes(
    unfinished: Path, altgrad: Callable[..., Any]
) -> None:
    def status() -> str:
        (row,) = json.loads(altgrad("runs", unfinished, "--json").out)
        return str(row["status"])

    (unfinished / "records.jsonl").touch()  # as the last it did
    assert status() == "unfinished"
    with RunDirectory(unfinished):
        for path in unfinished.iterdir():
            os.utime(path, (time.time() - 600,) * 2)
        assert status() == "running"
    (unfinished / "run.lock").unlink()  # without it the age tells
    assert status() == "unfinished"
    (unfinished / "records.jsonl").touch()
    assert status() == "running"

"""What other commands train, as seen by a command on the same directory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.cli.cells import Standing
from altgrad_core.cli.matrix import print_table
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.endings import directory_of, under_way_in
from altgrad_core.experiments.workers.board import Board
from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.registry import installed
from altgrad_core.running.session.session import begin

MATRIX = """
[matrix]
run.seed = [1, 2]
"""


@pytest.fixture
def matrix(tiny: Path, tmp_path: Path) -> Matrix:
    path = tmp_path / "study.toml"
    path.write_text(tiny.read_text() + MATRIX)
    return Matrix(load_manifest(path), installed(), most=10)


def half_done(matrix: Matrix, study: Path) -> str:
    """The first cell as somebody leaves it between two steps whose lock is not seen here; its name."""
    cell = matrix.cells({})[0]
    begin(cell.resolved, directory_of(cell, study), overwrite=False, show=lambda record: None)
    directory_of(cell, study).summary.unlink()
    (directory_of(cell, study).path / "run.lock").unlink()
    return cell.name


def test_a_table_shows_the_cells_that_are_trained_now_and_how_far_they_are(
    matrix: Matrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = half_done(matrix, tmp_path / "out")
    print_table(matrix, tmp_path / "out")
    said = capsys.readouterr().out
    assert f"training: {name}, step 6 of 6, loss " in said
    assert "not begun" in said


def test_a_cell_whose_files_are_old_is_not_trained_now(matrix: Matrix, tmp_path: Path) -> None:
    name = half_done(matrix, tmp_path / "out")
    assert list(under_way_in(tmp_path / "out", matrix.cells({}))) == [name]
    for path in (tmp_path / "out" / name).iterdir():
        os.utime(path, (time.time() - 120,) * 2)
    assert not under_way_in(tmp_path / "out", matrix.cells({}))


def test_the_display_lists_what_other_commands_train(matrix: Matrix, tmp_path: Path) -> None:
    name = half_done(matrix, tmp_path / "out")
    board = Board(cells=2, elsewhere=under_way_in(tmp_path / "out", matrix.cells({})))
    table: Any = Standing(board).table()
    assert [next(iter(column.cells)) for column in table.columns][:2] == [name, "6/6"]

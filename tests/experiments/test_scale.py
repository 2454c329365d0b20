"""A command looks at the cells it did not train now and then, not each time one ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.contracts.executor import CellTask, Executor, Job, Tell
from altgrad_core.experiments.matrix import endings
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.workers import scheduler
from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.registry.registry import installed
from altgrad_core.results.ending import Ending
from tests.conftest import TINY

SUMMARY = {"status": "finished", "validation_loss": 2.0}
REPLY: Mapping[str, Any] = {"reply": "ended", "status": "finished", "validation_loss": 2.0, "seconds": 0.0}


class Done(Job):
    """A job that has ended."""

    def cancel(self, signal: int) -> None:
        """Nothing is left to end."""

    def kill(self) -> None:
        """Nothing is left to end."""


class Instant(Executor):
    """Writes the summary of a cell at once; with its first task, the summaries of cells that another command trained."""

    capacity = 1

    def __init__(self, elsewhere: list[Path]) -> None:
        self._elsewhere, self.trained = elsewhere, list[str]()

    def submit(self, task: CellTask, tell: Tell) -> Job:
        self.trained.append(Path(task["directory"]).name)
        for place in [Path(task["directory"]), *self._elsewhere]:
            place.mkdir(exist_ok=True)
            RunDirectory(place).summary.write_text(json.dumps(SUMMARY))
        self._elsewhere = []
        tell(REPLY)
        return Done()

    def close(self) -> None:
        """Nothing is open."""


def matrix_of(folder: Path, seeds: int) -> Matrix:
    path = folder / "study.toml"
    text = TINY.replace('name = "tiny"\n', "").replace("seed = 3\n", "")
    path.write_text(f"{text}[matrix]\nrun.seed = {list(range(seeds))}\n")
    return Matrix(load_manifest(path), installed(), most=1000)


def test_looks_grow_with_the_cells_and_not_with_their_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counted(
        directory: RunDirectory, real: Callable[[RunDirectory], Ending | None] = endings.ending_of
    ) -> Ending | None:
        nonlocal looks
        looks += 1
        return real(directory)

    monkeypatch.setattr(endings, "ending_of", counted)
    monkeypatch.setattr(scheduler, "ending_of", counted)
    monkeypatch.setattr(scheduler, "UNSEEN", 3600.0)
    done = scheduler.train_cells(
        matrix_of(tmp_path, 40), tmp_path / "out", executor=Instant([]), overwrite=False, show=lambda board, line: None
    )
    assert done.board.ended == {"finished": 40}
    assert looks <= 4 * 40


def test_cells_that_ended_elsewhere_between_two_looks_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "UNSEEN", 3600.0)
    matrix = matrix_of(tmp_path, 5)
    names = [cell.name for cell in matrix.cells({})]
    executor = Instant([tmp_path / "out" / name for name in names[2:4]])
    done = scheduler.train_cells(
        matrix, tmp_path / "out", executor=executor, overwrite=False, show=lambda board, line: None
    )
    assert executor.trained == [names[0], names[1], names[4]]
    assert done.board.ended == {"finished": 5}

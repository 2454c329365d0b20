"""How long a matrix will take, and how much disk: by a few steps of cells that between them have every value of every axis."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.experiments.matrix.cells import SEED, Matrix
from altgrad_core.manifest.merge import dotted, location_of
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.session import begin

STEPS = 6  # the shortest counts: others compile, evaluate or save
STARTING = 0.5  # seconds to assemble a run and write its first checkpoint
FORWARD = 1 / 3  # of a step


@dataclass(frozen=True)
class Estimate:
    """What the cells that are known now will take, on one process like this one.

    Attributes:
        measured: how many cells took a few steps.
        seconds: of training, in all.
        bytes: of checkpoints that are kept, in all.
    """

    measured: int
    seconds: float
    bytes: int


def estimate(matrix: Matrix, cells: list[Cell]) -> Estimate:
    """Take a few steps of some cells, in a directory that is deleted afterwards.

    Raises:
        ManifestError: one of them cannot be assembled.
    """
    chosen = covering(cells, apart_from={SEED, _rate_axis(matrix)})
    measured = [_measured(cell) for cell in chosen]
    step = sum(seconds for seconds, _ in measured) / len(measured)
    size = sum(size for _, size in measured) / len(measured)
    kept = {"none": 0, "last": 1}.get(matrix.table.checkpoints)
    seconds = sum(STARTING + step * _steps(cell) for cell in cells)
    checkpoints = sum(size * (kept if kept is not None else _keeps(cell)) for cell in cells)
    return Estimate(len(chosen), seconds, int(checkpoints))


def covering(cells: Iterable[Cell], *, apart_from: set[str]) -> list[Cell]:
    """Cells that between them have every value of every axis but some; the first that brings a new one, each time."""
    seen: set[tuple[str, object]] = set()
    chosen: list[Cell] = []
    for cell in cells:
        values = {(axis, label) for axis, label in cell.labels.items() if axis not in apart_from}
        if not chosen or values - seen:
            chosen.append(cell)
            seen |= values
    return chosen


def _rate_axis(matrix: Matrix) -> str:
    search = matrix.table.search
    return dotted(location_of(search.key)) if search is not None else ""


def _measured(cell: Cell) -> tuple[float, int]:
    """Seconds of a step, and bytes of a checkpoint."""
    source = cell.resolved.source
    data = {**source.data, "run": {**source.data["run"], "steps": STEPS}, "tracker": []}
    source = replace(source, data=data, settings={**source.settings, ("run", "steps"): "--steps"})  # a trial
    times: list[float] = []

    def show(record: Record) -> None:
        if record["kind"] == "step":
            times.append(time.perf_counter())

    with TemporaryDirectory(prefix="altgrad-") as folder:
        directory = RunDirectory(Path(folder) / "cell")
        begin(resolve(source, cell.resolved.registry), directory, overwrite=False, show=show)
        newest = max(directory.checkpoints.glob("step-*"), key=lambda path: path.stat().st_mtime)
        size = sum(file.stat().st_size for file in newest.iterdir())
    return seconds_of_a_step(times), size


def seconds_of_a_step(times: Sequence[float]) -> float:
    """The shortest of the steps between these moments: what is compiled or loaded in the others is done once."""
    return min((later - earlier for earlier, later in pairwise(times)), default=0.0)


def _steps(cell: Cell) -> float:
    """The steps of a cell, with its evaluations as parts of steps."""
    run, data = cell.resolved.manifest.run, cell.resolved.manifest.data
    evaluations = 1 + (run.steps // run.evaluate_every if run.evaluate_every else 0)
    return run.steps + evaluations * run.evaluate_batches * FORWARD / data.accumulate


def _keeps(cell: Cell) -> int:
    return cell.resolved.manifest.run.keep_checkpoints

"""Where the cells of a matrix are, and how those that ended did."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Set
from pathlib import Path

from altgrad_core.errors import RunError
from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.experiments.matrix.cells import Endings, Matrix
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.files import read_json
from altgrad_core.results.catalogue import Listed, under_way
from altgrad_core.results.ending import Ending


def ending_of(directory: RunDirectory) -> Ending | None:
    """How the cell in a directory ended; None where it has not."""
    if not directory.is_finished:
        return None
    try:
        summary = read_json(directory.summary)
    except (OSError, RunError):
        return None  # damaged: whoever continues the run says so
    return Ending.of(summary) if "validation_loss" in summary else None


def endings_in(
    matrix: Matrix, study: Path, *, known: Endings | None = None, apart_from: Set[str] = frozenset()
) -> dict[str, Ending]:
    """How every cell that ended did, and those that a search added because of that.

    Args:
        known: endings that need not be looked up.
        apart_from: cells whose endings do not count.
    """
    endings = dict(known or {})
    while True:
        unknown = [c for c in matrix.cells(endings) if c.name not in endings and c.name not in apart_from]
        fresh = {cell.name: result for cell in unknown if (result := ending_of(directory_of(cell, study))) is not None}
        if not fresh:
            return endings
        endings |= fresh


def under_way_in(study: Path, cells: Iterable[Cell]) -> dict[str, Listed]:
    """By name, those of some cells that have not ended which are trained right now, by whatever command on whatever machine."""
    try:
        with os.scandir(study) as entries:
            begun = {entry.name for entry in entries}
    except OSError:
        return {}
    now = time.time()
    result = {cell.name: under_way(directory_of(cell, study).path, now=now) for cell in cells if cell.name in begun}
    return {name: listed for name, listed in result.items() if listed is not None}


def directory_of(cell: Cell, study: Path) -> RunDirectory:
    """Where a cell runs."""
    return RunDirectory(study / cell.name)

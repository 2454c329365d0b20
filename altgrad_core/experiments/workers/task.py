"""What an executor is given to train one cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.endings import directory_of


def task_of(cell: Cell, matrix: Matrix, study: Path, *, overwrite: bool) -> dict[str, Any]:
    """A cell as the JSON data of a `CellTask`, which `train_cell` reads.

    Args:
        study: the directory of the study.
        overwrite: whether what is in the directory of the cell is removed first.
    """
    source = cell.resolved.source
    data = {**source.data, "run": {**source.data["run"], "name": cell.name}}
    return {
        "settings": [[list(location), option] for location, option in source.settings.items()],
        "manifest": str(matrix.source.path.resolve()),
        "data": data,
        "directory": str(directory_of(cell, study).path.absolute()),
        "overwrite": overwrite,
        "checkpoints": matrix.table.checkpoints,
    }

"""Why a study has more cells than it began with: what its search added, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.experiments.matrix.cells import SEED, Matrix
from altgrad_core.manifest.merge import dotted, location_of, value_at
from altgrad_core.manifest.search_schema import SearchTable


def additions(matrix: Matrix, cells: Sequence[Cell], *, before: Collection[str]) -> Iterator[str]:
    """A sentence for each combination to which a search added cells.

    Args:
        cells: all that are known now.
        before: the names of those that were known before.
    """
    search = matrix.table.search
    if search is None:
        return
    key = dotted(location_of(search.key))
    added: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.name not in before:
            place = ", ".join(str(value) for axis, value in cell.labels.items() if axis not in (key, SEED))
            added.setdefault((place, cell.role), []).append(cell)
    for (place, role), result in added.items():
        count = f"{len(result)} more cell{'s' if len(result) > 1 else ''}"
        yield f"search{f' of {place}' if place else ''}: {count}: {_why(result, search, key, role=role)}"


def _why(added: Sequence[Cell], search: SearchTable, key: str, *, role: str) -> str:
    values = ", ".join(f"{value:g}" for value in dict.fromkeys(float(cell.labels[key]) for cell in added))
    if role == "probe":
        return f"to see whether {key} = {values} still learns"
    seeds = len({value_at(dict(cell.manifest), location_of(SEED)) for cell in added})
    many = f"{seeds} seed{'s' if seeds > 1 else ''}"
    where = "around the best so far" if search.samples is None else "those of the best settings so far"
    return f"{many} at {key} = {values}, {where}"

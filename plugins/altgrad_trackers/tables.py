"""Per-layer readings kept as tables of bounded size, and when a table is due to be passed on."""

from __future__ import annotations

MOST_ROWS = 10_000
"""Rows of one table; where a run has more, every second step of it is left out, and so on. The records hold them all."""

Row = tuple[int, str, float]


def is_due(taken: int) -> bool:
    """Whether a table is passed on after so many steps: 1, 2, 4, 8, ...; all of them together cost twice the last."""
    return taken & (taken - 1) == 0


class LayerTable:
    """One reading of every layer over the steps of a run, evenly thinned where it would grow too long.

    Attributes:
        taken: steps it was given, kept or not.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[int, dict[str, float]]] = []
        self._rows, self.taken, self._stride = 0, 0, 1

    def take(self, step: int, values: dict[str, float]) -> None:
        """Keep the values of one step, or leave them out where the table is thinned."""
        if self.taken % self._stride == 0:
            self._steps.append((step, values))
            self._rows += len(values)
        self.taken += 1
        while self._rows > MOST_ROWS and len(self._steps) > 1:
            self._steps, self._stride = self._steps[::2], 2 * self._stride
            self._rows = sum(len(kept) for _, kept in self._steps)

    def rows(self) -> list[Row]:
        """`(step, layer, value)`, in the order of the steps."""
        return [(step, layer, value) for step, values in self._steps for layer, value in values.items()][:MOST_ROWS]


class LayerTables:
    """The table of every reading of a run."""

    def __init__(self) -> None:
        self._tables: dict[str, LayerTable] = {}
        self._waiting: set[str] = set()

    def take(self, reading: str, step: int, values: dict[str, float]) -> list[Row] | None:
        """Keep the values of one reading; its table, if it is due."""
        table = self._tables.setdefault(reading, LayerTable())
        table.take(step, values)
        if is_due(table.taken):
            self._waiting.discard(reading)
            return table.rows()
        self._waiting.add(reading)
        return None

    def rest(self) -> dict[str, list[Row]]:
        """The tables that have grown since they were last due, at the end of a run."""
        return {reading: self._tables[reading].rows() for reading in sorted(self._waiting)}

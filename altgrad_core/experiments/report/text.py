"""A table for a terminal: columns side by side, words whole, nothing that a terminal would obey."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.experiments.figures.canvas import shortened
from altgrad_core.experiments.report.blocks import TextTable

GAP, MOST_LETTERS = 2, 60


def as_text(table: TextTable) -> str:
    """The columns and rows; of a long cell, as where runs of many settings are compared, the middle is left out."""
    lines = [[shortened(plain_line(cell), MOST_LETTERS) for cell in line] for line in (table.columns, *table.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return (" " * GAP).join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def plain_line(text: str) -> str:
    """Text in which no letter moves the cursor or sets a colour."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)

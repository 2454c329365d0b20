"""A format for notebooks: its facts, and its number line."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from altgrad_core.numerics.format import Format

WIDTH, HEIGHT, EDGE = 640, 46, 10  # pixels
MOST_STROKES = 1024


def format_html(format: Format) -> str:
    """A table of facts; below it the values as strokes, on an axis that is linear from the lowest to the highest."""
    facts = {key: value for key, value in format.facts().items() if key != "sha256"}
    if not format.is_identity:
        grid = format.grid
        facts |= {"values": len(grid), "largest": grid.largest, "smallest positive": grid.smallest_positive}
    rows = "".join(
        f"<tr><th>{escape(str(key).replace('_', ' '))}</th><td>{escape(_told(value))}</td></tr>"
        for key, value in facts.items()
    )
    line = "" if format.is_identity or len(format.grid) > MOST_STROKES else _line(format.grid.values)
    return f"<table>{rows}</table>{line}"


def _told(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _line(values: tuple[float, ...]) -> str:
    low, high = values[0], values[-1]
    at = [EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low) for value in values]
    strokes = "".join(f"M{x:.2f} 4V26" for x in at)
    ends = ((EDGE, low, "start"), (WIDTH - EDGE, high, "end"))
    words = "".join(f'<text x="{x}" y="42" text-anchor="{side}">{value:g}</text>' for x, value, side in ends)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="number line" '
        f'fill="currentColor" font-size="12"><path d="{strokes}" stroke="currentColor" stroke-width="0.6"/>{words}</svg>'
    )

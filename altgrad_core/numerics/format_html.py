"""A format for notebooks: its facts, and its number line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, EDGE = 640, 46, 10  # pixels
MOST_STROKES = 1024


def format_html(facts: Mapping[str, Any], values: Sequence[float]) -> str:
    """A table of facts; below it the values as strokes, on an axis that is linear from the lowest to the highest.

    Args:
        values: the distinct finite values, ascending; empty for the identity.
    """
    rows = "".join(
        f"<tr><th>{escape(str(key).replace('_', ' '))}</th><td>{escape(_text(value))}</td></tr>"
        for key, value in facts.items()
        if key != "sha256"
    )
    line = _line(values) if 0 < len(values) <= MOST_STROKES else ""
    return f"<table>{rows}</table>{line}"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _line(values: Sequence[float]) -> str:
    low, high = values[0], values[-1]
    at = [EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low) for value in values]
    strokes = "".join(f"M{x:.2f} 4V26" for x in at)
    ends = ((EDGE, low, "start"), (WIDTH - EDGE, high, "end"))
    words = "".join(f'<text x="{x}" y="42" text-anchor="{side}">{value:g}</text>' for x, value, side in ends)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="number line" '
        f'fill="currentColor" font-size="12"><path d="{strokes}" stroke="currentColor" stroke-width="0.6"/>{words}</svg>'
    )

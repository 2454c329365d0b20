"""What the pages say of numbers, times and places."""

from __future__ import annotations

import math
from urllib.parse import parse_qs, quote

from altgrad_core.results.catalogue import Listed


def ago(seconds: float) -> str:
    """How long since, in the largest whole unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def loss(value: float | None) -> str:
    """A loss, or a dash."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def progress(listed: Listed) -> str:
    """How far a run or a study has come."""
    if listed.kind == "study":
        return f"{listed.ended} of {listed.cells} cells"
    if listed.step is None:
        return "no step yet"
    return f"step {listed.step:,}" + (f" of {listed.steps:,}" if listed.steps else "")


def share(listed: Listed) -> float:
    """The same from 0 to 1."""
    done, whole = (listed.ended, listed.cells) if listed.kind == "study" else (listed.step, listed.steps)
    return min(1.0, (done or 0) / whole) if whole else 0.0


def link(listed: Listed) -> str:
    """The address of its page."""
    return f"/{listed.kind}?at={quote(listed.place, safe='')}"


def place_in(search: str | None) -> str:
    """The place that the query of an address names."""
    return parse_qs((search or "").removeprefix("?")).get("at", [""])[0]

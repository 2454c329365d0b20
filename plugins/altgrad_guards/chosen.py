"""Which of the readings a guard was given it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any


def chosen(readings: Mapping[str, Any], layers: str) -> Iterator[tuple[str, Any]]:
    """Layer and number of the layers that match a pattern; `|` separates alternatives."""
    patterns = [pattern.strip() for pattern in layers.split("|")]
    for layer, value in readings.items():
        if any(fnmatchcase(layer, pattern) for pattern in patterns):
            yield layer, value


def may_overlap(one: str, other: str) -> bool:
    """Whether two patterns surely have a layer in common: they are the same, or one of them takes every layer."""
    return one == other or "*" in (one, other)

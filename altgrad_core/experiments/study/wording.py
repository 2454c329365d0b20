"""Numbers and lists in words, the same way in every sentence of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from altgrad_core.experiments.study.interval import Interval


def count(number: int, noun: str) -> str:
    """`1 pair`, `2 pairs`, `no pair`."""
    return f"{number or 'no'} {noun}" + ("s" if number > 1 else "")


def listed(values: Sequence[object]) -> str:
    """`a, b and c`."""
    words = [str(value) for value in values]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def few(values: Sequence[object], most: int = 6) -> str:
    """The values, or the first ones and how many more there are."""
    more = len(values) - most
    return f"{', '.join(str(value) for value in values[:most])} and {more} more" if more > 0 else listed(values)


def size(value: float) -> str:
    """A size to three digits, never in powers of ten where a person would not."""
    return f"{value:.3g}" if value == 0 or 1e-4 <= abs(value) < 1e5 else f"{value:.2e}"


def decimals(interval: Interval | None) -> int:
    """How many decimals a number deserves: two digits of the half width of its interval, from 2 to 6; 4 without one."""
    half = 0.0 if interval is None else (interval.high - interval.low) / 2
    return 4 if half <= 0 else max(2, min(6, 1 - math.floor(math.log10(half))))


def span(interval: Interval) -> str:
    """`0.010 to 0.031`."""
    return f"{size(interval.low)} to {size(interval.high)}"


def sentence(text: str) -> str:
    """With a capital, unless it begins with a path, and a full stop."""
    is_path = "/" in text.partition(" ")[0]
    return (text[:1] if is_path else text[:1].upper()) + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")

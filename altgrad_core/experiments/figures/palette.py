"""Colours, markers and dashes that people with any colour vision can tell apart, on light and on dark paper."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

INK = "#010203"  # becomes the colour of the text around the figure

# Okabe and Ito, Color Universal Design (2008), without black, which is INK, and yellow last: it is faint on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
REFERENCE_DASHES = ((6.0, 2.0), (1.0, 1.5), (6.0, 2.0, 1.0, 2.0), (3.0, 1.5))


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each label, in order of appearance; they repeat after seven."""
    return dict(zip(dict.fromkeys(labels), cycle(COLOURS), strict=False))


def markers_of(labels: Iterable[str]) -> dict[str, str]:
    """A marker for each label, in order of appearance; they repeat after twelve."""
    return dict(zip(dict.fromkeys(labels), cycle(MARKERS), strict=False))


def dashes_of(labels: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """A pattern of dashes for each reference, in order of appearance; they repeat after four."""
    return dict(zip(dict.fromkeys(labels), cycle(REFERENCE_DASHES), strict=False))

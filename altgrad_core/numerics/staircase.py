"""Rounding without chance as the staircase it is: where each step lies, in exact arithmetic.

Places on the number line are the bits of float32 values as integers in the order of the values.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from altgrad_core.numerics.rounding import Mode, mode_of

if TYPE_CHECKING:
    from altgrad_core.numerics.grid import Grid

FLOOR = "toward-negative"  # the staircase that stochastic rounding starts from


def ordered(value: float) -> int:
    """The bits of a float32 as an integer in the order of the values; -0 is -1."""
    bits = int(struct.unpack("<i", struct.pack("<f", abs(value)))[0])
    return bits if str(value)[0] != "-" else -bits - 1


def steps_up(grid: Grid, rounding: str) -> list[int]:
    """For each rung but the last, the place from which on a value rounds to the next rung or above it.

    Args:
        rounding: a mode that leaves nothing to chance.
    """
    mode, values = mode_of(rounding), [Fraction(value) for value in grid.values]
    return [_step(low, high, index - grid.origin, mode) for index, (low, high) in enumerate(pairwise(values))]


def _step(low: Fraction, high: Fraction, rung: int, mode: Mode) -> int:
    """The place of one step; `rung` is the number of `low`."""
    if mode.toward == "zero" and low < 0 < high:  # a cell without zero that has it inside: its sign stays
        return ordered(-0.0)
    if mode.nearest:
        middle = (low + high) / 2
        return place_from(middle, itself=_goes_up(mode, middle, rung))
    goes_up = high <= 0 if mode.toward == "zero" else _goes_up(mode, low, rung)
    return place_from(low, itself=False) if goes_up else place_from(high, itself=True)


def _goes_up(mode: Mode, place: Fraction, rung: int) -> bool:
    """Whether the mode prefers the upper end of a cell, at a tie, or, if it is no nearest mode, between its ends."""
    return {
        "even": rung % 2 != 0,
        "odd": rung % 2 == 0,
        "away": place >= 0,
        "positive": True,
        "negative": False,
    }[mode.toward]


def place_from(edge: Fraction, *, itself: bool) -> int:
    """The lowest place at `edge` (if `itself`) or above it."""
    if edge == 0:
        return ordered(-0.0) if itself else ordered(2.0**-149)
    place = ordered(_as_float32(edge))
    result = _value_at(place)
    return place if (result == edge and itself) or result > edge else place + 1


def _as_float32(value: Fraction) -> float:
    return float(struct.unpack("<f", struct.pack("<f", float(value)))[0])


def _value_at(place: int) -> Fraction:
    bits = place if place >= 0 else -place - 1
    magnitude = Fraction(struct.unpack("<f", struct.pack("<i", bits))[0])
    return magnitude if place >= 0 else -magnitude

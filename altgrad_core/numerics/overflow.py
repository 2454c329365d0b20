"""What lies beyond the ends of a grid where overflow is not saturated."""

from __future__ import annotations

import math
from typing import Literal

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.rounding import Mode, mode_of

Overflow = Literal["saturate", "specials"]


def special_beyond(format: Format, sign: int) -> float | None:
    """What lies beyond the largest value on one side: infinity, NaN, or nothing."""
    if format.infinity_code(sign) is not None:
        return sign * math.inf
    return math.nan if format.nan_code is not None else None


def overflow_threshold(format: Format, sign: int, rounding: str) -> tuple[float, bool] | None:
    """The magnitude from which rounding leaves the grid on one side, and whether the threshold itself does.

    Nearest modes leave it half-way to where the next rung would be. A power of two at the top begins a binade: the gap
    above it is that of its own binade, not the smaller one below. A mode that would go to that next rung leaves it right
    above the last one; the others, and stochastic rounding, only with an infinity: None (gfloat has it so).
    """
    mode, grid = mode_of(rounding), format.grid
    rung = len(grid) - 1 - grid.origin if sign > 0 else grid.origin
    goes_on = not mode.random_bits and _prefers_the_next(mode, sign, rung)
    values = grid.values if sign > 0 else tuple(-v for v in reversed(grid.values))
    if not mode.nearest:
        return (values[-1], False) if goes_on else None
    gap = values[-1] - values[-2]
    if format.mantissa_bits is not None:
        gap = max(gap, math.ldexp(1.0, math.frexp(values[-1])[1] - 1 - format.mantissa_bits))
    return values[-1] + gap / 2, goes_on


def _prefers_the_next(mode: Mode, sign: int, rung: int) -> bool:
    """Whether a mode prefers what would be the rung beyond the last, whose number is `rung`, to the last."""
    return {
        "even": rung % 2 == 1,
        "odd": rung % 2 == 0,
        "away": True,
        "zero": False,
        "positive": sign > 0,
        "negative": sign < 0,
    }[mode.toward]

"""Any decode table of up to 256 rungs: rounding without chance as the staircase it is.

Every such mode is a monotone step function of x. Its steps are found once, in exact arithmetic; the pass then looks up
the first bits of x, which leave at most one step to be decided by a comparison. Looking up is a loop of its own: the
arithmetic before and after it vectorizes, and looking up does not.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels.bits import (
    INFINITY,
    MAGNITUDE,
    ONE,
    SIGN,
    ZERO,
    F,
    I,
    U,
    as_bits,
    as_float,
    compiled,
    items_at,
)
from altgrad_core.numerics.kernels.philox import group_words
from altgrad_core.numerics.kernels.scales import spread_panel
from altgrad_core.numerics.random import GROUP
from altgrad_core.numerics.staircase import FLOOR, steps_up

Array = np.ndarray[Any, Any]
KEY_BITS = range(12, 19)  # upper bits of a float32 that choose a place; the fewer, the more places stay in the cache
MOST_RUNGS = 256
ROUNDINGS = ("nearest-even", "nearest-away", "toward-zero", "toward-positive", "toward-negative", "stochastic")


class Steps(NamedTuple):
    """One format under one mode, by the upper bits of a float32 in order.

    Attributes:
        edges: int32, shape (places,): the bits, in order, from which on a value at this place goes one rung higher.
        rungs: int32, shape (places,): where the values below go, counted from the lowest rung.
    """

    edges: Array
    rungs: Array

    def with_payload(self, payload: Array) -> Array:
        """int32, shape (4 * places,): of each place what the rungs below and above its edge stand for, and the edge."""
        below, above = self.rungs, np.minimum(self.rungs + 1, len(payload) - 1)
        return np.stack([payload[below], payload[above], self.edges, 0 * below], axis=1).astype(np.int32).reshape(-1)


@lru_cache(maxsize=64)
def steps_of(format: Format, rounding: str) -> Steps | None:
    """The staircase, or None where the table is too long, or has steps too close to each other."""
    grid = format.grid
    if len(grid) > MOST_RUNGS or rounding not in ROUNDINGS:
        return None
    steps = np.array(steps_up(grid, FLOOR if rounding == "stochastic" else rounding), dtype=np.int64)
    result = (_places(steps, bits) for bits in KEY_BITS)
    return next((places for places in result if places is not None), None)


def _places(steps: Array, bits: int) -> Steps | None:
    """The staircase by this many upper bits; None where one place would hold two steps."""
    length = 2 ** (32 - bits)
    starts = (np.arange(2**bits, dtype=np.int64) - 2 ** (bits - 1)) * length
    first = np.searchsorted(steps, starts, side="right")
    last = np.searchsorted(steps, starts + length - 1, side="right")
    if (last - first).max() > 1:
        return None
    edges = np.where(last > first, steps[np.minimum(first, len(steps) - 1)], 2**31 - 1)
    return Steps(edges.astype(np.int32), first.astype(np.int32))


@cache
def rounds(BY_CHANCE, MINUS_ZERO, APIECE, CODES):
    """The kernel for one combination of traits, as `deterministic.rounds`; overflow saturates. CODES: not BY_CHANCE."""
    result = {0: np.int32, 1: np.uint8, 2: np.uint16}[CODES]

    def kernel(x_at, out_at, size, scale, scales, layout, rule, values, places, facts, key, first):
        """As the deterministic kernels, on float32 only.

        Args:
            values: float32, shape (rungs,), ascending.
            places: see `Steps.with_payload`; the payload is codes, or rungs if BY_CHANCE, or else bits of the values.
            facts: int32: bits, in order, below and above which a value overflows; the codes of 0, of -0 and of NaN.
            key, first: see `stochastic.rounds`.
        """
        x, out, scale = items_at(x_at, size, np.int32), items_at(out_at, size, result), F(scale)
        lowest, highest, origin_code, zero_code, nan_code = facts[0], facts[1], facts[2], facts[3], facts[4]
        factors = np.empty(GROUP if APIECE else 0, np.float32)
        words = np.empty(GROUP if BY_CHANCE else 0, np.uint32)
        spots, near = np.empty(GROUP, np.int32), np.empty(GROUP, np.int32)
        low, high = np.empty(GROUP, np.float32), np.empty(GROUP, np.float32)
        amax = ZERO
        overflows, underflows, nans, infinities = 0, 0, 0, 0
        for start in range(0, x.size, GROUP):
            xs, ys = x[start : start + GROUP], out[start : start + GROUP]
            if APIECE:
                spread_panel(x, start, start + xs.size, layout, rule, scales, factors)
            top, over, under = ZERO, ZERO, ZERO
            for i in range(xs.size):
                raw = I(xs[i] & MAGNITUDE)
                top = raw if raw > top else top
                scaled = as_bits(as_float(xs[i]) / (factors[i] if APIECE else scale))
                spot = I(scaled ^ I(I(scaled >> I(31)) & MAGNITUDE))
                over = I(over + (ONE if (spot > highest) | (spot < lowest) else ZERO))
                spots[i] = spot
            find(spots[: xs.size], places, near)
            if CODES:
                for i in range(xs.size):
                    is_minus_zero = (spots[i] < ZERO) & (near[i] == origin_code)
                    ys[i] = zero_code if MINUS_ZERO and is_minus_zero else near[i]
            else:
                if BY_CHANCE:
                    group_words(key, (first + start) // 4, words)
                    find_neighbours(near[: xs.size], values, low, high)
                    choose(spots[: xs.size], low, high, words, near)
                for i in range(xs.size):
                    raw, sign = I(xs[i] & MAGNITUDE), I(xs[i] & SIGN)
                    y = as_bits(as_float(near[i]) * (factors[i] if APIECE else scale))
                    if MINUS_ZERO:
                        y = I(y | (sign if near[i] == ZERO else ZERO))
                    ys[i] = y
                    under = I(under + (ONE if (near[i] == ZERO) & (raw > ZERO) & (raw <= INFINITY) else ZERO))
            overflows += over
            underflows += under
            if top >= INFINITY:  # rare: look again, finite values only, and give NaN back as it came
                top = ZERO
                for i in range(xs.size):
                    raw = I(xs[i] & MAGNITUDE)
                    top = raw if (raw > top) & (raw < INFINITY) else top
                    infinities += raw == INFINITY
                    if raw > INFINITY:
                        nans += 1
                        ys[i] = nan_code if CODES else xs[i]
            amax = top if top > amax else amax
        return amax, overflows - nans, underflows, nans, infinities

    return compiled(kernel)


@compiled
def find(spots, places, result):
    """What the places say of each value; `spots`: the values' bits, in order; `found`: int32."""
    half, shift = I(places.size // 8), ZERO
    while 4 << (32 - shift) > places.size:
        shift = I(shift + ONE)
    for i in range(spots.size):
        result[i] = I(I(I(spots[i] >> shift) + half) << I(2))
    for i in range(spots.size):
        place = U(result[i])
        result[i] = places[U(place + (U(1) if spots[i] >= places[U(place + U(2))] else U(0)))]


@compiled
def find_neighbours(rungs, values, low, high):
    """The values of the rung at or below each, and of the next one; kept within the table."""
    last = U(values.size - 2)
    for i in range(rungs.size):
        rung = min(U(rungs[i]), last)
        low[i], high[i] = values[rung], values[U(rung + U(1))]


@compiled
def choose(spots, low, high, words, chosen):
    """The bits of `low` or `high`, by chance, with the position measured from the end nearer to zero."""
    for i in range(spots.size):
        bottom, roof = np.float64(low[i]), np.float64(high[i])
        value = np.float64(as_float(I(spots[i] ^ I(I(spots[i] >> I(31)) & MAGNITUDE))))
        inside = min(max(value, bottom), roof)
        above = inside - bottom
        rest = inside - above
        error = (inside - (above + rest)) + (rest - bottom)
        place = above / (roof - bottom) * 16777216.0
        up = np.floor(place)
        up = up - (1.0 if (error < 0.0) & (up == place) else 0.0)
        down = 16777216.0 - np.ceil((roof - inside) / (roof - bottom) * 16777216.0)
        chance = down if roof <= 0.0 else up
        goes_up = np.float64(I(U(words[i] >> U(8)))) + chance >= 16777216.0
        chosen[i] = as_bits(high[i] if goes_up else low[i])

"""Stochastic rounding to an eXmY grid: the random words are made beside the rounding, in one pass.

With the value at signed position r between rungs, it goes to rung floor(r * 2 ** 24) + k >> 24 for 24 random bits k:
that is the definition, in integers. In the normal binades the position within a cell is there in the float32 bits, and
the sum is taken of magnitudes, with the random bits inverted below zero.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from altgrad_core.numerics.kernels.bits import (
    EXACT_HALF,
    INFINITY,
    MAGNITUDE,
    ONE,
    SIGN,
    SIXTEEN,
    ZERO,
    F,
    I,
    U,
    as_bits,
    as_float,
    compiled,
    items_at,
    to_half,
)
from altgrad_core.numerics.kernels.philox import COUNTERS, WORD, four_words
from altgrad_core.numerics.kernels.scales import spread_panel
from altgrad_core.numerics.random import GROUP

MOST_COARSE = 7  # mantissa bits up to which a position in 2 ** -24 rungs fits in an int32
SMALLEST_COARSE = 2.0**-100  # quantum down to which 2 ** 24 over it is a float32


@cache
def rounds(IS_BITS, IS_FINE, MINUS_ZERO, HALF_IO, APIECE):
    """The kernel for one combination of traits, as `deterministic.rounds`; IS_FINE: beyond `MOST_COARSE` or `SMALLEST_COARSE`."""
    item = np.uint16 if HALF_IO else np.int32

    def kernel(x_at, out_at, size, scale, scales, layout, rule, facts, quantum, key, first):
        """As the deterministic kernels; overflow saturates.

        Args:
            facts: int32: low, largest, shift.
            quantum: float32, the smallest positive value of the format.
            key: of the random bits.
            first: the number of the first element, a multiple of `GROUP`.
        """
        x, out, scale = items_at(x_at, size, item), items_at(out_at, size, item), F(scale)
        low, largest, shift = facts[0], facts[1], facts[2]
        first_normal = low if low < largest else largest
        keep, drop = I(~I(I(ONE << shift) - ONE)), U(I(I(32) - shift))
        per_quantum = F(F(1.0 if IS_FINE else 16777216.0) / quantum)
        low_key, high_key = WORD(key & 0xFFFFFFFF), WORD(key >> 32)
        factors = np.ones(GROUP if APIECE else 0, np.float32)
        rest_in, rest_out = np.zeros(GROUP, item), np.empty(GROUP, item)

        def one(item, word, i):
            if HALF_IO:
                bits = I(I(item) << SIXTEEN)
            else:
                bits = item
            own_scale = factors[i] if APIECE else scale
            raw, sign = I(bits & MAGNITUDE), I(bits & SIGN)
            value = F(as_float(bits) / own_scale)
            scaled = I(as_bits(value) & MAGNITUDE)
            clipped = scaled if scaled < largest else largest
            inverted = U(word ^ U(I(bits >> I(31))))
            rounded = I(I(clipped + I(U(inverted >> drop))) & keep)
            if not IS_BITS:
                position, k = F(value * per_quantum), I(U(word >> U(8)))
                if IS_FINE:
                    rung = F(np.floor(position))
                    part = I(F(np.floor(F(F(position - rung) * F(16777216.0)))))
                    near_zero = F(F(I(I(rung) + I(I(part + k) >> I(24)))) * quantum)
                else:
                    near_zero = F(F(I(I(I(F(np.floor(position))) + k) >> I(24))) * quantum)
                rounded = rounded if scaled >= first_normal else I(as_bits(near_zero) & MAGNITUDE)
            y = as_bits(as_float(rounded) * own_scale)
            if MINUS_ZERO:
                y = I(y | sign)
            else:
                y = I(y | (sign if rounded > ZERO else ZERO))
            over = ONE if scaled > largest else ZERO
            under = ONE if (rounded == ZERO) & (raw > ZERO) else ZERO
            if HALF_IO == EXACT_HALF:
                return np.uint16(np.uint32(y) >> np.uint32(16)), raw, over, under
            if HALF_IO:
                return to_half(y), raw, over, under
            return y, raw, over, under

        amax = ZERO
        overflows, underflows, nans, infinities = 0, 0, 0, 0
        for start in range(0, x.size, GROUP):
            xs, ys = x[start : start + GROUP], out[start : start + GROUP]
            length = xs.size
            if APIECE:
                spread_panel(x, start, start + length, layout, rule, scales, factors)
            if length < GROUP:
                rest_in[:length] = xs
                xs, ys = rest_in, rest_out
            counter = (first + start) // 4
            near, far = WORD(counter & 0xFFFFFFFF), WORD(counter >> 32)
            top, over, under = ZERO, ZERO, ZERO
            for i in range(COUNTERS):
                a, b, c, d = four_words(WORD(near + WORD(i)), far, low_key, high_key)
                j, k, m = i + COUNTERS, i + 2 * COUNTERS, i + 3 * COUNTERS
                y0, raw0, over0, under0 = one(xs[i], a, i)
                y1, raw1, over1, under1 = one(xs[j], b, j)
                y2, raw2, over2, under2 = one(xs[k], c, k)
                y3, raw3, over3, under3 = one(xs[m], d, m)
                ys[i], ys[j], ys[k], ys[m] = y0, y1, y2, y3
                over = I(over + I(I(over0 + over1) + I(over2 + over3)))
                under = I(under + I(I(under0 + under1) + I(under2 + under3)))
                raw0 = raw0 if raw0 > raw1 else raw1
                raw2 = raw2 if raw2 > raw3 else raw3
                raw0 = raw0 if raw0 > raw2 else raw2
                top = raw0 if raw0 > top else top
            if length < GROUP:
                out[start : start + length] = ys[:length]
                xs, ys = x[start : start + length], out[start : start + length]
            overflows += over
            underflows += under
            if top >= INFINITY:  # rare: look again, finite values only, and give NaN back as it came
                top = ZERO
                for i in range(length):
                    raw = I((I(I(xs[i]) << SIXTEEN) if HALF_IO else I(xs[i])) & MAGNITUDE)
                    top = raw if (raw > top) & (raw < INFINITY) else top
                    infinities += raw == INFINITY
                    if raw > INFINITY:
                        nans += 1
                        ys[i] = xs[i]
            amax = top if top > amax else amax
        return amax, overflows - nans, underflows, nans, infinities

    return compiled(kernel)

"""Rounding to an eXmY grid without chance: one pass that also takes the amax and counts.

A value v in the binade of q-wide cells is rounded by (v + 1.5 * 2 ** 23 * q) - 1.5 * 2 ** 23 * q, which float32 addition
rounds to a multiple of q, ties to even; the other modes then move it back or forth by q. An even multiple is an even
rung except where a binade holds a single rung (M = 0): there the tie is moved aside first. Formats whose rungs are those
of float32 itself with the last bits cut off (bfloat16) are rounded as integers.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from altgrad_core.numerics.kernels.bits import (
    BLOCK,
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
from altgrad_core.numerics.kernels.scales import scale_at, spread_panel
from altgrad_core.numerics.random import GROUP

BY_RUN, BY_ELEMENT = 1, 2  # how blocks are scaled: long ones in a loop each, short ones element by element
EVEN, AWAY, DIRECTED = range(3)
MODES = {
    "nearest-even": EVEN,
    "nearest-away": AWAY,
    "toward-zero": DIRECTED,
    "toward-positive": DIRECTED,
    "toward-negative": DIRECTED,
}
GROWS = {"toward-zero": (0, 0), "toward-positive": (1, 0), "toward-negative": (0, 1)}  # magnitudes above, below zero


@cache
def rounds(MODE, IS_BITS, IS_POWERS, MINUS_ZERO, SPECIALS, HALF_IO, APIECE, CODES):
    """The kernel for one combination of traits, each an integer; compiled when it is first called.

    MODE: EVEN, AWAY or DIRECTED. IS_BITS, IS_POWERS: of the format's facts. MINUS_ZERO: it has a -0. SPECIALS: overflow does
    not saturate. HALF_IO: 0, `HALF` or `EXACT_HALF`.
    APIECE: every block of every row has its own scale: 0, `BY_RUN` or `BY_ELEMENT`. CODES: 0, or the bytes of a code, which
    `out` gets instead of the values.
    """
    item = np.uint16 if HALF_IO else np.int32
    result = {0: item, 1: np.uint8, 2: np.uint16}[CODES]

    def kernel(x_at, out_at, size, scale, scales, layout, rule, facts):
        """Round x / scale, times scale; amax bits, overflows, underflows, NaNs, infinities.

        Args:
            x_at: the address of `size` int32 bits of float32, or uint16 bits of bfloat16.
            out_at: that of the results: likewise, or codes.
            scale: of all, unless APIECE.
            scales: float32, shape (blocks,), read or written as `layout` says; of any shape unless APIECE.
            layout, rule: see `scales.scale_at`.
            facts: int32: low, largest, shift; limit above and below zero, and the bits of what lies beyond; for codes
                the offset, the bits of a magnitude, the code of NaN and those beyond the limits; whether DIRECTED
                goes away from zero above and below it.
        """
        x, out, scale = items_at(x_at, size, item), items_at(out_at, size, result), F(scale)
        low, largest, shift = facts[0], facts[1], facts[2]
        limit_above, limit_below, beyond_above, beyond_below = facts[3], facts[4], facts[5], facts[6]
        width = I(I(23) - shift)
        to_magic, to_quantum = I(I(shift << I(23)) + I(0x400000)), I(width << I(23))
        parity = I(I(low >> I(23)) & ONE)
        below_rung = I(I(ONE << shift) - ONE)
        keep, half = I(~below_rung), I(I(ONE << shift) >> ONE)
        factors = np.empty(GROUP if APIECE == BY_ELEMENT else 0, np.float32)
        offset, to_sign, nan_code, code_above, code_below = (
            facts[7],
            I(I(31) - facts[8]),
            facts[9],
            facts[10],
            facts[11],
        )
        grows_above, grows_below = facts[12], facts[13]
        per_quantum = F(F(1.0) / as_float(I(low - I(width << I(23)))))
        amax = ZERO
        overflows, underflows, nans, infinities = 0, 0, 0, 0
        start, stop = 0, 0
        while stop < x.size:
            start, stop = stop, min(stop + (GROUP if APIECE == BY_ELEMENT else BLOCK), x.size)
            if APIECE == BY_RUN:
                scale, end = scale_at(x, start, layout, rule, scales)
                stop = min(stop, end)
            if APIECE == BY_ELEMENT:
                spread_panel(x, start, stop, layout, rule, scales, factors)
            xs, ys = x[start:stop], out[start:stop]
            top, over, under = ZERO, ZERO, ZERO
            for i in range(xs.size):
                if HALF_IO:
                    bits = I(I(xs[i]) << SIXTEEN)
                else:
                    bits = xs[i]
                raw, sign = I(bits & MAGNITUDE), I(bits & SIGN)
                top = raw if raw > top else top
                factor = factors[i] if APIECE == BY_ELEMENT else scale
                scaled = as_bits(as_float(raw) / factor)
                clipped = scaled if scaled < largest else largest
                grows = (grows_above if bits >= ZERO else grows_below) != ZERO
                if IS_BITS:
                    if MODE == EVEN:
                        rounded = I(I(clipped + I(half - ONE)) + I(I(clipped >> shift) & ONE))
                    if MODE == AWAY:
                        rounded = I(clipped + half)
                    if MODE == DIRECTED:
                        rounded = I(clipped + (below_rung if grows else ZERO))
                    rounded = I(rounded & keep)
                else:
                    binade = I((clipped if clipped > low else low) & INFINITY)
                    if MODE == EVEN and IS_POWERS:
                        v = as_float(I(clipped - I(I(I(binade >> I(23)) ^ parity) & ONE)))
                    else:
                        v = as_float(clipped)
                    magic = as_float(I(binade + to_magic))
                    r = F(F(v + magic) - magic)
                    quantum = as_float(I(binade - to_quantum))
                    if MODE == AWAY:
                        r = F(r + (quantum if F(v - r) == F(quantum * F(0.5)) else F(0.0)))
                    if MODE == DIRECTED:
                        r = F(r - (quantum if (r > v) & (not grows) else F(0.0)))
                        r = F(r + (quantum if (r < v) & grows else F(0.0)))
                    rounded = as_bits(r)
                if SPECIALS:
                    leaves = scaled >= (limit_above if bits >= ZERO else limit_below)
                if CODES:
                    rung = I(I(rounded >> shift) - offset)
                    if not IS_BITS:
                        rung = rung if rounded >= low else I(F(as_float(rounded) * per_quantum))
                    code_sign = I(U(sign) >> U(to_sign))
                    if MINUS_ZERO:
                        code = I(rung | code_sign)
                    else:
                        code = I(rung | (code_sign if rung > ZERO else ZERO))
                    if SPECIALS:
                        code = (code_above if bits >= ZERO else code_below) if leaves else code
                    ys[i] = code
                else:
                    if SPECIALS:
                        rounded = (beyond_above if bits >= ZERO else beyond_below) if leaves else rounded
                    y = as_bits(as_float(rounded) * factor)
                    if MINUS_ZERO:
                        y = I(y | sign)
                    else:
                        y = I(y | (sign if rounded > ZERO else ZERO))
                    if HALF_IO == EXACT_HALF:
                        ys[i] = np.uint16(U(y) >> U(16))
                    elif HALF_IO:
                        ys[i] = to_half(y)
                    else:
                        ys[i] = y
                over = I(over + (ONE if scaled > largest else ZERO))
                under = I(under + (ONE if (rounded == ZERO) & (raw > ZERO) else ZERO))
            overflows += over
            underflows += under
            if top >= INFINITY:  # rare: look again, finite values only, and give NaN back as it came
                top = ZERO
                for i in range(xs.size):
                    if HALF_IO:
                        bits = I(I(xs[i]) << SIXTEEN)
                    else:
                        bits = xs[i]
                    raw = I(bits & MAGNITUDE)
                    top = raw if (raw > top) & (raw < INFINITY) else top
                    infinities += raw == INFINITY
                    nans += raw > INFINITY
                    if raw > INFINITY:
                        if CODES:
                            ys[i] = nan_code
                        else:
                            ys[i] = xs[i]
                    elif SPECIALS and raw == INFINITY:
                        if CODES:
                            ys[i] = code_above if bits >= ZERO else code_below
                        elif HALF_IO:
                            beyond = U(I((beyond_above if bits >= ZERO else beyond_below) | I(bits & SIGN)))
                            ys[i] = np.uint16(beyond >> U(16))
                        else:
                            ys[i] = I((beyond_above if bits >= ZERO else beyond_below) | I(bits & SIGN))
            amax = top if top > amax else amax
        return amax, overflows - nans, underflows, nans, infinities

    return compiled(kernel)

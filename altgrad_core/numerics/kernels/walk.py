"""Walking along an eXmY grid, in place: w <- u^-1(u(keep w) - r), one pass, with counts.

u, the rung position, is piecewise linear and doubles its stride at every binade: just like the bits of a float32, read
as an integer. So in the binades a walk is one integer subtraction, whose result is the exact one rounded to float32.
Below the smallest normal value N the bits of |x| + N continue those of the binades, down to zero and out on the other
side; so weights move in steps of 2^(M - 23) rungs everywhere. On a uniform grid a walk is one subtraction of floats.
What lies beyond the last rung is left to float64, element by element.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from altgrad_core.numerics.kernels.bits import (
    BINADE,
    INFINITY,
    MAGNITUDE,
    ONE,
    SIGN,
    ZERO,
    F,
    I,
    as_bits,
    as_float,
    compiled,
)
from altgrad_core.numerics.kernels.directions import adam_moments, adam_move, bounded, count_gradients, velocity_after
from altgrad_core.numerics.kernels.positions import (
    place_of,
    position_of,
    rung_below,
    rung_facts,
    rung_of,
    rung_of_place,
    size_in_rungs,
    value_of_position,
)

BLOCK = 1024  # elements between two looks at those that did not walk
WIDE_MAGNITUDE, WIDE_BINADE = np.int64(0x7FFFFFFFFFFFFFFF), np.int64(1 << 52)  # float64 bits
BITS_APIECE, WIDE_MOST = 2.0**29, 2.0**57  # float64 bits for each of float32; the most of a walk
MOST = 1 << 28  # float32 bits of a walk; a longer one is left to float64


@compiled
def stride(x, move, normal, limit, most):
    """Where x, in units of the grid, goes by `move` float32 bits.

    Args:
        normal, limit: bits of N, and of the last magnitude up to which bits count rungs.
        most: how far integers reach without wrapping around.

    Returns:
        The bits there; the place there, in bits from zero, positive on the side of x; whether both are right.
    """
    end, zero = as_float(normal), I(normal - BINADE)
    bits = as_bits(x)
    magnitude = I(bits & MAGNITUDE)
    inwards = as_float(I(as_bits(move) ^ I(bits & SIGN)))
    is_short = abs(inwards) < most
    whole = I(np.rint(inwards if is_short else F(0.0)))
    place = I(place_of(magnitude, normal) - whole)
    side = I(place >> I(31))
    height = I(I(I(place ^ side) - side) + zero)
    low = as_bits(F(as_float(I(height + BINADE)) - end))
    there = I((height if height >= normal else low) | I(I(place ^ bits) & SIGN))
    return bits if whole == ZERO else there, place, is_short & (max(magnitude, height) <= limit)


@compiled
def wide_stride(x, move, normal, limit):
    """`stride` in float64, for an x that is not a float32: where it goes, as float64, and whether that is right.

    Args:
        move: as there, in bits of float32.
        normal, limit: as there, but the bits of float64.
    """
    end, zero, bits = np.int64(normal).view(np.float64), normal - WIDE_BINADE, np.float64(x).view(np.int64)
    magnitude = bits & WIDE_MAGNITUDE
    inwards = np.float64(move) * BITS_APIECE
    is_short = abs(inwards) < WIDE_MOST
    whole = np.int64(np.rint(inwards if is_short else 0.0))
    whole = -whole if bits < 0 else whole
    near_zero = np.float64(np.int64(magnitude).view(np.float64) + end).view(np.int64) - WIDE_BINADE
    place = (magnitude if magnitude >= normal else near_zero) - zero - whole
    height = abs(place) + zero
    low = np.int64(height + WIDE_BINADE).view(np.float64) - end
    there = np.int64(height).view(np.float64) if height >= normal else low
    return -there if (place < 0) != (bits < 0) else there, is_short & (max(magnitude, height) <= limit)


@compiled
def far_stride(w, rungs, keep, scale, facts, quantum):
    """The bits of where the weight with the bits `w` goes by float64; it stays where one is not a number."""
    low, largest, shift, offset, top = facts[0], facts[1], facts[2], facts[3], facts[4]
    kept = F(as_float(w) * keep)
    x = np.float64(kept) / np.float64(scale)
    if not (np.isfinite(x) and np.isfinite(rungs)):
        return w
    if rungs == 0:
        return as_bits(kept)
    u = position_of(x, low, largest, shift, offset, top, quantum) - rungs
    return as_bits(F(value_of_position(u, low, largest, shift, offset, top, quantum) * np.float64(scale)))


@cache
def walks(ADAM, MOMENTUM, UNIFORM, COUNTED, APIECE, POWER, WIDE):
    """The kernel for some traits.

    ADAM, MOMENTUM: what moves the weights, if not a direction as it is. UNIFORM: the line is a uniform grid. COUNTED: a
    trail is kept. APIECE: every element has a scale of its own. POWER: the one scale is a power of two of at most 1, half a
    quantum at it is a normal float32, and the line has the rungs of the format. WIDE: some scale is not a power of two, so
    that a weight is not a float32 in units of the grid: all is done in float64.
    """

    def kernel(w, g, m, v, trail, scales, facts, grid_facts, quantum, numbers, counts):
        """Walk `w`.

        Args:
            w: int32 bits of float32, shape (n,).
            g: float32 gradients. Where one is not finite, nothing changes.
            m, v: ADAM: the moments, updated. MOMENTUM: `m` is the velocity, updated. Else it is the direction.
            trail: COUNTED: int32, by how many rungs each weight has gone in all, nearest to nearest.
            scales: float32, shape (1,) or (n,).
            facts, grid_facts: of the line to walk on, and of the format's own grid, int32: see `arrays.walk_facts`.
            quantum: the smallest positive value of the line.
            numbers: float32: the factor from direction to rungs, its bound, what decay leaves; ADAM: beta1, beta2,
                their complements, eps; MOMENTUM: the rate.
            counts: zero; broken gradients; gradients that are not zero; flips.
        """
        normal, limit, per_rung = facts[0], facts[5], F(I(ONE << facts[2]))
        unit = quantum if UNIFORM else per_rung
        factor, bound, keep = F(numbers[0] * unit), F(numbers[1] * unit), numbers[2]
        beta1, beta2, rest1, rest2, eps = numbers[3], numbers[4], numbers[5], numbers[6], numbers[7]
        most = F(min(MOST, (1 << 31) - 1 - np.int64(limit)))  # beyond, integers would wrap around
        wide_normal = np.float64(as_float(normal)).view(np.int64)
        wide_limit = np.float64(as_float(I(limit))).view(np.int64)
        rungs = rung_facts(grid_facts)
        scale = scales[0]
        inverse = F(F(1.0) / scale)
        shrink = F(keep * inverse)
        does_stay = np.empty(BLOCK, np.int32)
        for begin in range(0, w.size, BLOCK):
            end = min(begin + BLOCK, w.size)
            ws, gs, ms, stays = w[begin:end], g[begin:end], m[begin:end], does_stay[: end - begin]
            vs, steps, factors = v[begin:end], trail[begin:end], scales[begin:end]
            staying, least, flips = ZERO, INFINITY, ZERO
            for i in range(ws.size):
                gradient, was = gs[i], ws[i]
                size = I(as_bits(gradient) & MAGNITUDE)
                least = min(least, size)
                is_whole = size < INFINITY
                if ADAM:
                    ms[i], vs[i] = adam_moments(gradient, is_whole, ms[i], vs[i], beta1, beta2, rest1, rest2)
                    move = adam_move(ms[i], vs[i], factor, eps)
                elif MOMENTUM:
                    ms[i] = velocity_after(gradient, is_whole, ms[i], beta1)
                    move = bounded(F(ms[i] * factor), bound)
                else:
                    move = bounded(F(ms[i] * factor), bound)
                if APIECE:
                    scale = factors[i]
                if POWER:
                    x = F(as_float(was) * shrink)
                else:
                    kept = F(as_float(was) * keep)
                    x = F(kept / scale)
                if WIDE and UNIFORM:
                    value = as_bits(F(np.float64(kept) - np.float64(move) * np.float64(scale)))
                    place, there, is_near = ZERO, ZERO, I(value & MAGNITUDE) < INFINITY
                elif WIDE:
                    walked, is_near = wide_stride(np.float64(kept) / np.float64(scale), move, wide_normal, wide_limit)
                    value = as_bits(F(walked * np.float64(scale)))
                    place, there = ZERO, ZERO
                elif UNIFORM:
                    place, there = ZERO, as_bits(F(x - move))
                    is_near = I(there & MAGNITUDE) < INFINITY
                else:
                    there, place, is_near = stride(x, move, normal, limit, most)
                if not WIDE:
                    value = as_bits(F(as_float(there) * scale))
                if not (POWER or WIDE):
                    value = as_bits(kept) if there == as_bits(x) else value
                goes = is_near & is_whole
                ws[i] = value if goes else was
                stay = I(I(goes) - ONE)
                stays[i] = stay
                staying = I(staying + stay)
                if COUNTED:
                    if POWER:
                        old = as_bits(F(as_float(was) * inverse))
                        if UNIFORM:
                            went = I(rung_of(there, rungs) - rung_of(old, rungs))
                        else:
                            rested = (there == as_bits(x)) & (I(there & MAGNITUDE) < normal)
                            after = rung_below(there, rungs) if rested else rung_of_place(place, rungs)
                            inwards = I(after - size_in_rungs(old, rungs))
                            side = I(was >> I(31))
                            went = I(I(inwards ^ side) - side)
                    else:
                        old, now = as_bits(F(as_float(was) / scale)), as_bits(F(as_float(value) / scale))
                        went = I(rung_of(now, rungs) - rung_of(old, rungs))
                    went = went if goes else ZERO
                    steps[i] = I(steps[i] + went)
                    flips = I(flips + I(went != ZERO))
            counts[3] += flips
            if (least == ZERO) | (staying != ZERO):
                count_gradients(gs, counts)
            else:
                counts[2] += ws.size
            if staying != ZERO:
                for i in range(ws.size):
                    is_whole = I(as_bits(gs[i]) & MAGNITUDE) < INFINITY
                    if not UNIFORM and stays[i] != ZERO and is_whole:
                        move = adam_move(ms[i], vs[i], factor, eps) if ADAM else bounded(F(ms[i] * factor), bound)
                        if APIECE:
                            scale = factors[i]
                        value = far_stride(ws[i], np.float64(move) / per_rung, keep, scale, facts, quantum)
                        if COUNTED:
                            old, now = as_bits(F(as_float(ws[i]) / scale)), as_bits(F(as_float(value) / scale))
                            went = I(rung_of(now, rungs) - rung_of(old, rungs))
                            steps[i] = I(steps[i] + went)
                            counts[3] += went != ZERO
                        ws[i] = value

    return compiled(kernel)

"""Walking along an eXmY grid, in place: w <- u^-1(u(keep w) - r), one pass, with counts.

u, the rung position, is piecewise linear and doubles its stride at every binade: just like the bits of a float32, read
as an integer. So in the binades a walk is one integer subtraction, whose result is the exact one rounded to float32;
near zero and on uniform grids, up to a value L, it is one subtraction of floats. A walk from the one region into the
other goes by the bits of |x| + N, where N is the smallest normal value: they continue those of the binades. What lies
beyond the last rung is left to float64, element by element.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from altgrad_core.numerics.kernels.bits import INFINITY, MAGNITUDE, ONE, SIGN, ZERO, F, I, as_bits, as_float, compiled
from altgrad_core.numerics.kernels.positions import position_of, rung_bits, rung_facts, value_of_position

BLOCK = 1024  # elements between two looks at those that were left to float64
BINADE = np.int32(0x00800000)
MOST = 1 << 28  # float32 bits of a walk; a longer one is left to float64


@compiled
def adam_moments(gradient, m, v, beta1, beta2, rest1, rest2):
    """The moments after a gradient, or as they were where it is no finite number."""
    first = F(F(m * beta1) + F(gradient * rest1))
    second = F(F(v * beta2) + F(F(gradient * gradient) * rest2))
    is_whole = I(as_bits(gradient) & MAGNITUDE) < INFINITY
    return first if is_whole else m, second if is_whole else v


@compiled
def adam_rungs(m, v, factor, root, eps):
    """Adam's direction in rungs: factor * m / (root * sqrt(v) + eps)."""
    return F(F(m * factor) / F(F(np.sqrt(v) * root) + eps))


@compiled
def bounded(rungs, bound):
    """`rungs`, at most `bound` in either direction; NaN stays NaN."""
    rungs = bound if rungs > bound else rungs
    return F(-bound) if rungs < F(-bound) else rungs


@compiled
def stride(x, r, normal, line, limit, per_rung, most, quantum):
    """Where x, in units of the grid, goes by `r` rungs: its bits, and whether they are right.

    normal, line, limit: bits of N, of L, and of the last magnitude up to which the bits count rungs.
    """
    end, zero = as_float(normal), I(normal - BINADE)
    bits = as_bits(x)
    sign, magnitude = I(bits >> I(31)), I(bits & MAGNITUDE)
    near_zero = I(as_bits(F(as_float(magnitude) + end)) - BINADE)
    place = I((magnitude if magnitude >= normal else near_zero) - zero)
    place = I(I(place ^ sign) - sign)
    exact = F(r * per_rung)
    is_short = abs(exact) < most
    move = I(np.rint(exact if is_short else F(0.0)))
    moved = I(place - move)
    side = I(moved >> I(31))
    height = I(I(I(moved ^ side) - side) + zero)
    low = as_bits(F(as_float(I(height + BINADE)) - end))
    curved = I((height if height >= normal else low) | I(side & SIGN))
    straight = as_bits(F(x - F(r * quantum)))
    is_straight = max(magnitude, I(straight & MAGNITUDE)) <= line
    is_near = is_short & (max(magnitude, height) <= limit)
    return straight if is_straight else curved, is_near | is_straight


@compiled
def far_stride(w, r, keep, scale, facts, quantum):
    """The bits of where the weight with the bits `w` goes by `r` rungs, by float64; it stays where one is no number."""
    low, largest, shift, offset, top = facts[0], facts[1], facts[2], facts[3], facts[4]
    kept = F(as_float(w) * keep)
    if not (np.isfinite(kept) and np.isfinite(r)):
        return w
    u = position_of(F(kept / scale), low, largest, shift, offset, top, quantum) - np.float64(r)
    return as_bits(F(value_of_position(u, low, largest, shift, offset, top, quantum) * np.float64(scale)))


@cache
def walks(ADAM, COUNTED, APIECE, POWER):
    """The kernel for some traits.

    ADAM: the rungs come from Adam's moments. COUNTED: a trail is kept. APIECE: every element has a scale of its own.
    POWER: the one scale is a power of two.
    """

    def kernel(w, g, m, v, trail, scales, facts, grid_facts, quantum, numbers, counts):
        """Walk `w`.

        Args:
            w: int32 bits of float32, shape (n,).
            g: float32 gradients. Where one is no finite number, nothing changes.
            m, v: ADAM: the moments, updated. Otherwise `m` is the direction.
            trail: COUNTED: int32, by how many rungs each weight has gone in all, nearest to nearest.
            scales: float32, shape (1,) or (n,).
            facts, grid_facts: of the line to walk on, and of the format's own grid, int32: see `positions`; and the
                line and limit of `stride`.
            quantum: the smallest positive value of the line.
            numbers: float32: the factor on the direction, its bound, what decay leaves; ADAM: beta1, beta2, their
                complements, the factor on sqrt(v), eps.
            counts: zero; broken gradients; gradients that are not zero; flips.
        """
        factor, bound, keep = numbers[0], numbers[1], numbers[2]
        beta1, beta2, rest1, rest2, root, eps = (
            numbers[3], numbers[4], numbers[5], numbers[6], numbers[7], numbers[8]
        )  # fmt: skip
        per_rung, normal, line, limit = F(I(ONE << facts[2])), facts[0], facts[5], facts[6]
        most = F(min(MOST, (1 << 31) - 1 - BINADE - np.int64(limit) + normal))  # beyond, integers would wrap around
        low, largest, unit, before, magic = rung_facts(grid_facts)
        per_unit = F(F(1.0) / F(unit))
        scale = scales[0]
        inverse = F(F(1.0) / scale)
        is_left = np.empty(BLOCK, np.int32)
        for begin in range(0, w.size, BLOCK):
            end = min(begin + BLOCK, w.size)
            ws, gs, ms, left = w[begin:end], g[begin:end], m[begin:end], is_left[: end - begin]
            vs, steps, factors = v[begin:end], trail[begin:end], scales[begin:end]
            far, broken, updates, flips = ZERO, ZERO, ZERO, ZERO
            for i in range(ws.size):
                gradient, was = gs[i], ws[i]
                if ADAM:
                    ms[i], vs[i] = adam_moments(gradient, ms[i], vs[i], beta1, beta2, rest1, rest2)
                    rungs = adam_rungs(ms[i], vs[i], factor, root, eps)
                else:
                    rungs = bounded(F(ms[i] * factor), bound)
                if APIECE:
                    scale = factors[i]
                kept = F(as_float(was) * keep)
                if POWER:
                    x, old = F(kept * inverse), F(as_float(was) * inverse)
                else:
                    x, old = F(kept / scale), F(as_float(was) / scale)
                result, is_near = stride(x, rungs, normal, line, limit, per_rung, most, quantum)
                is_whole = I(as_bits(gradient) & MAGNITUDE) < INFINITY
                value = as_bits(kept) if result == as_bits(x) else as_bits(F(as_float(result) * scale))
                goes = is_near & is_whole
                ws[i] = value if goes else was
                leaves = ONE if is_whole & (not is_near) else ZERO
                left[i] = leaves
                far = I(far + leaves)
                broken = I(broken + (ZERO if is_whole else ONE))
                updates = I(updates + (ONE if is_whole & (gradient != F(0.0)) else ZERO))
                if COUNTED:
                    if POWER:
                        now = F(as_float(value) * inverse)
                    else:
                        now = F(as_float(value) / scale)
                    after = rung_bits(as_bits(now), low, largest, unit, before, magic)
                    went = I(after - rung_bits(as_bits(old), low, largest, unit, before, magic))
                    went = went if goes else ZERO
                    steps[i] = I(steps[i] + I(F(F(went) * per_unit)))
                    flips = I(flips + (ONE if went != ZERO else ZERO))
            if far > ZERO:
                for i in range(ws.size):
                    if left[i] > ZERO:
                        rungs = (
                            adam_rungs(ms[i], vs[i], factor, root, eps) if ADAM else bounded(F(ms[i] * factor), bound)
                        )
                        if APIECE:
                            scale = factors[i]
                        value = far_stride(ws[i], rungs, keep, scale, facts, quantum)
                        if COUNTED:
                            old, now = as_bits(F(as_float(ws[i]) / scale)), as_bits(F(as_float(value) / scale))
                            after = np.int64(rung_bits(now, low, largest, unit, before, magic))
                            went = (after - rung_bits(old, low, largest, unit, before, magic)) // unit
                            steps[i] = I(steps[i] + I(went))
                            counts[3] += went != 0
                        ws[i] = value
            counts[1] += broken
            counts[2] += updates
            counts[3] += flips

    return compiled(kernel)

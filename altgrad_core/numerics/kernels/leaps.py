"""Moving weights that live on an eXmY grid by whole rungs, in place; the fraction of a rung is taken by chance."""

from __future__ import annotations

from functools import cache

import numpy as np

from altgrad_core.numerics.kernels.bits import INFINITY, MAGNITUDE, ONE, SIGN, ZERO, F, I, as_bits, as_float, compiled
from altgrad_core.numerics.kernels.philox import group_words
from altgrad_core.numerics.kernels.positions import rung_bits, rung_facts
from altgrad_core.numerics.kernels.strides import BINADE, bounded
from altgrad_core.numerics.random import GROUP


@compiled
def place_of(x, normal):
    """The position of x in units of the grid, times `unit`, float32: rungs as float32 bits count them."""
    bits = as_bits(x)
    magnitude, sign = I(bits & MAGNITUDE), I(bits >> I(31))
    near = I(as_bits(F(as_float(magnitude) + as_float(normal))) - BINADE)
    place = I((magnitude if magnitude >= normal else near) - I(normal - BINADE))
    return I(I(place ^ sign) - sign)


@cache
def hops(COUNTED, APIECE, POWER):
    """The kernel for some traits, as `strides.walks`."""

    def kernel(w, g, direction, trail, scales, facts, quantum, numbers, stream, counts):
        """Move `w` to the rung at or below, or at or above, where its direction leads.

        Args:
            w: int32 bits of float32, shape (n,); what lies between two rungs counts as the nearest.
            g: float32 gradients. Where one is no finite number, nothing changes.
            direction: float32: `numbers[0]` times it is a walk in rungs, at most `numbers[1]` in either direction.
            trail: COUNTED: int32, by how many rungs each weight has gone in all.
            scales, facts, quantum: as `strides.walks`.
            numbers: float32: factor, bound, what decay leaves.
            stream: int64: the key of the random words; the number of the first element, a multiple of `GROUP`.
            counts: zero; broken gradients; gradients that are not zero; flips; moves that ended at an end of the grid.
        """
        factor, bound, keep = numbers[0], numbers[1], numbers[2]
        low, largest, unit, before, magic = rung_facts(facts)
        per_unit, top = F(F(1.0) / F(unit)), facts[4]
        first_normal, offset = I(I(low >> facts[2]) - facts[3]), facts[3]
        is_straight = facts[5] > facts[1]  # a uniform grid
        scale = scales[0]
        inverse = F(F(1.0) / scale)
        words = np.empty(GROUP, np.uint32)
        for begin in range(0, w.size, GROUP):
            end = min(begin + GROUP, w.size)
            ws, gs, ds, steps = w[begin:end], g[begin:end], direction[begin:end], trail[begin:end]
            factors = scales[begin:end]
            group_words(stream[0], np.int64((stream[1] + begin) // 4), words)
            broken, updates, flips, ended = ZERO, ZERO, ZERO, ZERO
            for i in range(ws.size):
                gradient, was = gs[i], ws[i]
                if APIECE:
                    scale = factors[i]
                value = as_float(was)
                if POWER:
                    x, kept = F(value * inverse), F(F(value * keep) * inverse)
                else:
                    x, kept = F(value / scale), F(F(value * keep) / scale)
                bent = F(F(I(place_of(x, low) - place_of(kept, low))) * per_unit)
                lag = F(F(x - kept) / quantum) if is_straight else bent
                rungs = F(bounded(F(ds[i] * factor), bound) + lag)
                whole = F(np.floor(rungs))
                part = I(F(np.floor(F(F(rungs - whole) * F(16777216.0)))))
                move = I(I(whole) + I(I(part + I(np.uint32(words[i] >> np.uint32(8)))) >> I(24)))
                at = I(F(F(rung_bits(as_bits(x), low, largest, unit, before, magic)) * per_unit))
                aim = I(at - move)
                rung = min(max(aim, I(-top)), top)
                size = abs(rung)
                normal = I(I(size + offset) * unit)
                target = as_float(normal) if size >= first_normal else F(F(size) * quantum)
                target = as_float(I(as_bits(F(target * scale)) | (I(rung) & SIGN)))
                is_whole = (I(as_bits(gradient) & MAGNITUDE) < INFINITY) & (I(was & MAGNITUDE) < INFINITY)
                is_whole = is_whole & (rungs == rungs)
                ws[i] = as_bits(target) if is_whole else was
                went = I(rung - at) if is_whole else ZERO
                if COUNTED:
                    steps[i] = I(steps[i] + went)
                flips = I(flips + (ONE if went != ZERO else ZERO))
                ended = I(ended + (ONE if is_whole & (rung != aim) else ZERO))
                broken = I(broken + (ZERO if is_whole else ONE))
                updates = I(updates + (ONE if is_whole & (gradient != F(0.0)) else ZERO))
            counts[1] += broken
            counts[2] += updates
            counts[3] += flips
            counts[4] += ended

    return compiled(kernel)


@compiled
def momentum(velocity, g, rate):
    """velocity = rate * velocity + g, in place, where g is a finite number."""
    for i in range(velocity.size):
        gradient = g[i]
        is_whole = I(as_bits(gradient) & MAGNITUDE) < INFINITY
        velocity[i] = F(F(velocity[i] * rate) + gradient) if is_whole else velocity[i]

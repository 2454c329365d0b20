"""Moving weights that live on an eXmY grid by whole rungs, in place; the fraction of a rung is taken by chance."""

from __future__ import annotations

from functools import cache

import numpy as np

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
)
from altgrad_core.numerics.kernels.directions import bounded, count_gradients, velocity_after
from altgrad_core.numerics.kernels.philox import group_words
from altgrad_core.numerics.kernels.positions import place_of, rung_facts, rung_of, value_of
from altgrad_core.numerics.random import GROUP

BITS24 = F(2.0**24)


@compiled
def whole_rungs(rungs, word):
    """`rungs` rounded down or up, by chance: up where the upper 24 bits of `word` and the fraction add to 1 or more."""
    low = F(np.floor(rungs))
    fraction = I(F(F(rungs - low) * BITS24))
    return I(I(low) + I(I(fraction + I(U(word >> U(8)))) >> I(24)))


@cache
def stochastic_walks(MOMENTUM, UNIFORM, COUNTED, APIECE, POWER):
    """The kernel for some traits, as `walk.walks`; UNIFORM: the grid is; POWER: the one scale is a power of two."""

    def kernel(w, g, direction, trail, scales, facts, quantum, numbers, stream, counts):
        """Move `w` to the rung at or below, or at or above, where its direction leads.

        Args:
            w: int32 bits of float32, shape (n,); what lies between two rungs counts as the nearest.
            g: float32 gradients. Where one is not finite, nothing changes.
            direction: float32: `numbers[0]` times it is a walk in rungs, at most `numbers[1]` in either direction.
                MOMENTUM: the velocity, updated.
            trail: COUNTED: int32, by how many rungs each weight has gone in all.
            scales, facts, quantum: as `walk.walks`.
            numbers: float32: factor, bound, what decay leaves; MOMENTUM: the rate.
            stream: int64: the key of the random words; the number of the first element, a multiple of `GROUP`.
            counts: zero; broken gradients; gradients that are not zero; flips; moves that ended at an end of the grid.
        """
        factor, bound, keep, rate = numbers[0], numbers[1], numbers[2], numbers[3]
        rungs, low, shift, offset, top = rung_facts(facts), facts[0], facts[2], facts[3], facts[4]
        per_bit, per_quantum = F(F(1.0) / F(I(ONE << facts[2]))), F(F(1.0) / quantum)
        scale = scales[0]
        inverse = F(F(1.0) / scale)
        shrink = F(keep * inverse)
        words = np.empty(GROUP, np.uint32)
        for begin in range(0, w.size, GROUP):
            end = min(begin + GROUP, w.size)
            ws, gs, ds, steps = w[begin:end], g[begin:end], direction[begin:end], trail[begin:end]
            factors = scales[begin:end]
            group_words(stream[0], np.int64((stream[1] + begin) // 4), words)
            least, most, flips, ended = INFINITY, ZERO, ZERO, ZERO
            for i in range(ws.size):
                gradient, was = gs[i], ws[i]
                size = I(as_bits(gradient) & MAGNITUDE)
                least, most = min(least, size), max(most, size)
                is_finite = size < INFINITY
                if MOMENTUM:
                    ds[i] = velocity_after(gradient, is_finite, ds[i], rate)
                if APIECE:
                    scale = factors[i]
                value = as_float(was)
                if POWER:
                    x, kept = F(value * inverse), F(value * shrink)
                else:
                    x, kept = F(value / scale), F(F(value * keep) / scale)
                if UNIFORM:
                    lag = F(F(x - kept) * per_quantum)
                else:
                    start, stop = I(as_bits(x) & MAGNITUDE), I(as_bits(kept) & MAGNITUDE)
                    inwards = F(F(I(place_of(start, low) - place_of(stop, low))) * per_bit)
                    lag = as_float(I(as_bits(inwards) ^ I(was & SIGN)))
                walk = F(bounded(F(ds[i] * factor), bound) + lag)
                at = rung_of(as_bits(x), rungs)
                aim = I(at - whole_rungs(walk, words[i]))
                rung = min(max(aim, I(-top)), top)
                magnitude = F(value_of(I(abs(rung)), low, shift, offset, quantum) * scale)
                target = I(as_bits(magnitude) | I(rung & SIGN))
                is_whole = is_finite & (I(was & MAGNITUDE) < INFINITY) & (walk == walk)
                ws[i] = target if is_whole else was
                went = I(rung - at) if is_whole else ZERO
                if COUNTED:
                    steps[i] = I(steps[i] + went)
                flips = I(flips + I(went != ZERO))
                ended = I(ended + I(is_whole & (rung != aim)))
            if (least == ZERO) | (most >= INFINITY):
                count_gradients(gs, counts)
            else:
                counts[2] += ws.size
            counts[3] += flips
            counts[4] += ended

    return compiled(kernel)

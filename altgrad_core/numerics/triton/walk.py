"""Moves of weights along an eXmY grid, in place, with what moves them and with counts, each in one pass."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.random import GROUP
from altgrad_core.numerics.triton.bits import INFINITY, MAGNITUDE, as_bits, as_float, count
from altgrad_core.numerics.triton.flat import group_words
from altgrad_core.numerics.triton.positions import position_of, value_of, value_of_position
from altgrad_core.numerics.triton.rounding import added, cut

COUNTERS, GROUP_OF = tl.constexpr(GROUP // 4), tl.constexpr(GROUP)
TICKETS = tl.constexpr(5)  # the place among the counts where programs that have read the step are counted


@triton.jit
def is_finite(x):
    """Whether a float32 is a finite number."""
    return (as_bits(x) & MAGNITUDE) < INFINITY


@triton.jit
def signed_rung(x, R: tl.constexpr):
    """The number of the rung nearest to a float32 in units of the grid, ties to even; NaN gives rung 0."""
    bits = as_bits(x)
    size = tl.minimum(bits & MAGNITUDE, R.largest)
    if R.is_bits:
        rounded = cut(size, bits < 0, R)
        number = rounded >> R.shift
    else:
        rounded = added(size, bits < 0, R)
        near_zero = (as_float(rounded) * (1.0 / R.quantum)).to(tl.int32)
        number = tl.where(rounded >= R.low, (rounded >> R.shift) - R.offset, near_zero)
    number = tl.where((bits & MAGNITUDE) > INFINITY, 0, number)
    return tl.where(bits < 0, -number, number)


@triton.jit
def float64_of(upper, middle, lower, LOADED: tl.constexpr):
    """A float64: LOADED from memory, or the sum of three float32 numbers."""
    if LOADED:
        result = tl.load(upper).to(tl.float64)
    else:
        result = tl.full((), 0.0, tl.float64) + upper + middle + lower
    return result


@triton.jit
def power(BASE: tl.constexpr, exponent):
    """BASE ** exponent, float64, by squaring; the exponent is int32 and not negative."""
    result, factor = tl.full((), 1.0, tl.float64), tl.full((), BASE, tl.float64)
    while exponent > 0:
        result = tl.where((exponent & 1) == 1, result * factor, result)
        factor = factor * factor
        exponent = exponent >> 1
    return result


@triton.jit
def adam_numbers(rungs, taken, ADAM: tl.constexpr):
    """The factor and eps of Adam's direction after `taken` steps and one: m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)."""
    count = taken.to(tl.int32) + 1
    root = tl.sqrt(1.0 - power(ADAM.beta2, count))
    factor = rungs * root / (1.0 - power(ADAM.beta1, count))
    return factor.to(tl.float32), (tl.full((), ADAM.eps, tl.float64) * root).to(tl.float32)


@triton.jit
def count_step(step, taken, counts):
    """Count the step, once every program has read how many were taken before: the last one to come here does it."""
    tl.debug_barrier()
    before = tl.atomic_add(counts + TICKETS, tl.full((), 1, tl.int64))
    if before == tl.num_programs(0) - 1:
        tl.store(step, taken + 1)


@triton.jit
def direction_of(m, v, g, at, inside, factor, bound, beta1, beta2, rest1, rest2, eps, KIND: tl.constexpr):
    """How many rungs to go, float32; the state takes in the gradient where that is a finite number.

    KIND: `adam`, two moments and factor * m / (sqrt(v) + eps); `velocity`, which becomes beta1 times itself plus the gradient,
    or `direction`, as it is, times the factor and at most `bound`.
    """
    sound = is_finite(g)
    first = tl.load(m + at, mask=inside, other=0.0)
    if KIND == "adam":
        second = tl.load(v + at, mask=inside, other=0.0)
        first = tl.where(sound, first * beta1 + g * rest1, first)
        second = tl.where(sound, second * beta2 + (g * g) * rest2, second)
        tl.store(m + at, first, mask=inside)
        tl.store(v + at, second, mask=inside)
        move = tl.div_rn(first * factor, tl.sqrt_rn(second) + eps)
    else:
        if KIND == "velocity":
            first = tl.where(sound, first * beta1 + g, first)
            tl.store(m + at, first, mask=inside)
        move = first * factor
        move = tl.where(move > bound, bound, move)
        move = tl.where(move < -bound, -bound, move)
    return move


@triton.jit
def walk_pass(
    w, g, m, v, trail, scales, counts, step, n, upper, middle, lower, bound, keep, momentum,
    LOADS_RUNGS: tl.constexpr, LOADS_KEEP: tl.constexpr, LINE: tl.constexpr, R: tl.constexpr, KIND: tl.constexpr, ADAM: tl.constexpr,
    COUNTED: tl.constexpr, APIECE: tl.constexpr, BIG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """w <- u^-1(u(keep w) - r), where u is the position along LINE.

    Args:
        w, g, m, v: float32, shape (n,): the weight, its gradient, the moments or a direction; w, m and v are updated.
        trail: COUNTED: int32, by how many rungs of R each weight has gone in all.
        scales: float32: one, or APIECE one for each weight.
        counts: int64, zero: of `counts[1:4]`, broken gradients, those that are not zero, flips.
        step: of Adam: how many steps were taken, float32 of shape (); it is counted.
        upper, middle, lower: what the direction is multiplied with: `upper` LOADS_RUNGS, or the sum of three float32 numbers.
        keep: what decay leaves, a float32, or LOADS_KEEP.
        ADAM: beta1, beta2, their complements, and eps.
    """
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    at = start * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    was, gradient = tl.load(w + at, mask=inside, other=0.0), tl.load(g + at, mask=inside, other=0.0)
    if LOADS_KEEP:
        keep = tl.load(keep).to(tl.float32)
    rungs = float64_of(upper, middle, lower, LOADS_RUNGS)
    if KIND == "adam":
        taken = tl.load(step)
        factor, eps = adam_numbers(rungs, taken, ADAM)
        count_step(step, taken, counts)
        move = direction_of(
            m, v, gradient, at, inside, factor, bound, ADAM.beta1, ADAM.beta2, ADAM.rest1, ADAM.rest2, eps, KIND
        )  # fmt: skip
    else:
        move = direction_of(
            m, v, gradient, at, inside, rungs.to(tl.float32), bound, momentum, 0.0, 0.0, 0.0, 0.0, KIND
        )  # fmt: skip
    scale = tl.load(scales + at, mask=inside, other=1.0) if APIECE else tl.load(scales)
    kept = was * keep
    goes = is_finite(gradient) & is_finite(move) & is_finite(kept)
    wide = scale.to(tl.float64)
    there = position_of(kept.to(tl.float64) / wide, LINE) - move.to(tl.float64)
    walked = (value_of_position(there, LINE) * wide).to(tl.float32)
    new = tl.where(goes, tl.where(move != 0, walked, kept), was)
    tl.store(w + at, new, mask=inside)
    if COUNTED:
        went = signed_rung(tl.div_rn(new, scale), R) - signed_rung(tl.div_rn(was, scale), R)
        tl.store(trail + at, tl.load(trail + at, mask=inside, other=0) + went, mask=inside)
        count(counts, 3, tl.sum((went != 0).to(tl.int32), axis=0))
    count_gradients(gradient, inside, counts)


@triton.jit
def count_gradients(gradient, inside, counts):
    """Count gradients that are not finite, and of the others those that are not zero."""
    sound = is_finite(gradient)
    count(counts, 1, tl.sum((inside & (sound == 0)).to(tl.int32), axis=0))
    count(counts, 2, tl.sum((inside & sound & (gradient != 0)).to(tl.int32), axis=0))


@triton.jit(do_not_specialize=["low_key", "high_key"])
def stochastic_walk_pass(
    w, g, m, trail, scales, counts, n, upper, middle, lower, bound, keep, momentum, low_key, high_key,
    LOADS_RUNGS: tl.constexpr, LOADS_KEEP: tl.constexpr, LOADS_KEY: tl.constexpr, R: tl.constexpr, KIND: tl.constexpr, DECAYS: tl.constexpr,
    COUNTED: tl.constexpr, APIECE: tl.constexpr, BIG: tl.constexpr,
):  # fmt: skip
    """Move `w` to a rung: r is rounded to a whole number by chance; see `walk_pass`. Each program takes one group of words.

    Args:
        low_key, high_key: the halves of the key of the stream, int32; LOADS_KEY: where the key is, int64, and 0.
        counts: of `counts[1:5]`, broken gradients, those that are not zero, flips, moves that ended at an end of the grid.
    """
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    lane = tl.arange(0, COUNTERS)
    if LOADS_KEY:
        key = tl.load(low_key)
        a, b, c, d = group_words(start, key.to(tl.int32), (key >> 32).to(tl.int32))
    else:
        a, b, c, d = group_words(start, low_key, high_key)
    if LOADS_KEEP:
        keep = tl.load(keep).to(tl.float32)
    factor = float64_of(upper, middle, lower, LOADS_RUNGS)
    for word in tl.static_range(4):
        at = start * GROUP_OF + word * COUNTERS + lane
        inside = at < n
        drawn = (a if word == 0 else b if word == 1 else c if word == 2 else d).to(tl.int32, bitcast=True)
        was, gradient = tl.load(w + at, mask=inside, other=0.0), tl.load(g + at, mask=inside, other=0.0)
        direction = tl.load(m + at, mask=inside, other=0.0)
        if KIND == "velocity":
            direction = tl.where(is_finite(gradient), direction * momentum + gradient, direction)
            tl.store(m + at, direction, mask=inside)
        scale = tl.load(scales + at, mask=inside, other=1.0) if APIECE else tl.load(scales)
        wide = scale.to(tl.float64)
        r = direction.to(tl.float64) * factor
        r = tl.where(r > bound, bound, r)
        r = tl.where(r < -bound, -bound, r)
        if DECAYS:
            r = r + (position_of(was.to(tl.float64) / wide, R) - position_of((was * keep).to(tl.float64) / wide, R))
        number = signed_rung(tl.div_rn(was, scale), R)
        whole = is_finite(gradient) & is_finite(was) & (tl.abs(r) < float("inf"))
        r = tl.where(whole, r, 0.0)
        low = tl.floor(r)
        chance = ((r - low) * 16777216.0).to(tl.int32) + ((drawn >> 8) & 0xFFFFFF)
        aim = number - (low.to(tl.int32) + (chance >> 24))
        goal = tl.minimum(tl.maximum(aim, -R.top), R.top)
        value = (value_of(tl.abs(goal), R).to(tl.float64) * wide).to(tl.float32)
        tl.store(w + at, tl.where(whole, tl.where(goal < 0, -value, value), was), mask=inside)
        went = tl.where(whole, goal - number, 0)
        if COUNTED:
            tl.store(trail + at, tl.load(trail + at, mask=inside, other=0) + went, mask=inside)
        count(counts, 3, tl.sum((went != 0).to(tl.int32), axis=0))
        count(counts, 4, tl.sum((inside & whole & (goal != aim)).to(tl.int32), axis=0))
        count_gradients(gradient, inside, counts)


@triton.jit
def velocity_pass(v, g, squares, n, momentum, BIG: tl.constexpr, BLOCK: tl.constexpr):
    """v <- momentum v + g where g is a finite number; the sum of the squares of each program, float64, into `squares`."""
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    at = start * BLOCK + tl.arange(0, BLOCK)
    velocity, gradient = tl.load(v + at, mask=at < n, other=0.0), tl.load(g + at, mask=at < n, other=0.0)
    velocity = tl.where(is_finite(gradient), velocity * momentum + gradient, velocity)
    tl.store(v + at, velocity, mask=at < n)
    wide = velocity.to(tl.float64)
    tl.store(squares + tl.program_id(0), tl.sum(wide * wide, axis=0))

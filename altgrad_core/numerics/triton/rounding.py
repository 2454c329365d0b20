"""Rounding to a grid: by float32 arithmetic where the grid is that of a floating-point format, else by lookup.

The arithmetic is that of `kernels.deterministic` and `kernels.stochastic`, with the magnitude, its sign apart.
"""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics import rounding as definition
from altgrad_core.numerics.triton.bits import INFINITY, MAGNITUDE, SIGN, as_bits, as_float

FRACTION_BITS = tl.constexpr(definition.FRACTION_BITS)


@triton.jit
def round_magnitude(size, negative, words, R: tl.constexpr):
    """The bits of a magnitude, in units of the grid, rounded; `words`: random words, int32."""
    clipped = tl.minimum(size, R.largest)
    if R.random_bits > 0:
        rounded = by_chance(clipped, negative, words, R)
    elif R.is_bits:
        rounded = cut(clipped, negative, R)
    else:
        rounded = added(clipped, negative, R)
    return rounded


@triton.jit
def cut(clipped, negative, R: tl.constexpr):
    """Rounded by cutting the last bits off, where every rung is a float32 with its last bits cut off."""
    CELL: tl.constexpr = 1 << R.shift
    if R.mode == "nearest-even":
        moved = clipped + (CELL // 2 - 1) + ((clipped >> R.shift) & 1)
    elif R.mode == "nearest-away":
        moved = clipped + CELL // 2
    elif R.mode == "toward-zero":
        moved = clipped
    elif R.mode == "toward-positive":
        moved = tl.where(negative, clipped, clipped + (CELL - 1))
    else:
        moved = tl.where(negative, clipped + (CELL - 1), clipped)
    return moved & -CELL


@triton.jit
def added(clipped, negative, R: tl.constexpr):
    """Rounded by adding 1.5 * 2 ** 23 cells and taking them away again."""
    binade = tl.maximum(clipped, R.low) & INFINITY
    value = as_float(clipped)
    if R.mode == "nearest-even" and R.is_powers:  # rungs alternate where significands do not: a tie is moved
        value = as_float(clipped - (((binade >> 23) ^ (R.low >> 23)) & 1))
    magic = as_float(binade + ((R.shift << 23) + 0x400000))
    near = (value + magic) - magic
    if R.mode != "nearest-even":
        cell = as_float(binade - ((23 - R.shift) << 23))
        if R.mode == "nearest-away":
            near = near + tl.where(value - near == cell * 0.5, cell, 0.0)
        elif R.mode == "toward-zero":
            near = near - tl.where(near > value, cell, 0.0)
        else:
            grows = negative if R.mode == "toward-negative" else negative == 0
            near = near - tl.where((near > value) & (grows == 0), cell, 0.0)
            near = near + tl.where((near < value) & grows, cell, 0.0)
    return as_bits(near)


@triton.jit
def by_chance(clipped, negative, words, R: tl.constexpr):
    """Rounded to one of its neighbours: to the one away from zero where the upper bits of its word and the place between
    the two, in units of 2 ** -random_bits, make 1 or more. With all bits these are, below zero, inverted and rounded up."""
    N: tl.constexpr = R.random_bits
    CELL: tl.constexpr = 1 << R.shift
    if N < FRACTION_BITS:
        negative = tl.zeros_like(negative)
    turned = tl.where(negative, ~words, words)
    chance = (turned >> (32 - N)) & ((1 << N) - 1)
    part = clipped & (CELL - 1)
    if R.shift <= N:
        place = part << (N - R.shift)
    else:
        place = (part + tl.where(negative, (1 << (R.shift - N)) - 1, 0)) >> (R.shift - N)
    rounded = (clipped - part) + (((place + chance) >> N) << R.shift)
    if not R.is_bits:
        near = tl.minimum(clipped, R.low)
        units = as_float(near) * (1.0 / R.quantum)
        whole = units.to(tl.int32).to(tl.float32)  # neither is negative: cutting is rounding down
        spot = (units - whole) * (1 << N)
        place = spot.to(tl.int32)
        is_cut = spot > place.to(tl.float32)
        if R.quantum > 1.0:  # the product may have lost all of a value near zero
            is_cut = is_cut | ((units == 0.0) & (near > 0))
        place = place + (is_cut & negative).to(tl.int32)
        rung = whole + ((place + chance) >> N).to(tl.float32)
        rounded = tl.where(clipped < R.low, as_bits(rung * R.quantum), rounded)
    return rounded


@triton.jit
def rung_of(scaled, edges, R: tl.constexpr):
    """The index of the rung of a staircase for float32 bits: how many of its steps lie at or below them."""
    spot = scaled ^ ((scaled >> 31) & MAGNITUDE)
    index = tl.zeros_like(spot)
    for step in tl.static_range(R.depth):
        edge = tl.load(edges + (index + ((1 << (R.depth - 1 - step)) - 1)))
        index = index + tl.where(edge <= spot, 1 << (R.depth - 1 - step), 0)
    return tl.minimum(index, R.rungs - 1)


@triton.jit
def rung_by_table(scaled, words, values, edges, R: tl.constexpr):
    """The index of the rung that float32 bits round to."""
    index = rung_of(scaled, edges, R)
    if R.random_bits > 0:
        index = tl.minimum(index, R.rungs - 2)
        low, high = tl.load(values + index).to(tl.float64), tl.load(values + index + 1).to(tl.float64)
        index = index + goes_up(as_float(scaled).to(tl.float64), low, high, words, R).to(tl.int32)
    return index


@triton.jit
def goes_up(x, low, high, words, R: tl.constexpr):
    """See `rounding._goes_up_by_chance`; all float64."""
    N: tl.constexpr = R.random_bits
    ONE: tl.constexpr = 1 << N
    x = tl.minimum(tl.maximum(x, low), high)  # beyond the ends; NaN gives either
    gap = high - low
    upward = units_between(low, x, gap, ONE)
    drawn = (words >> (32 - N)) & (ONE - 1)
    if N < FRACTION_BITS:
        outward = tl.where(x < 0, units_between(x, high, gap, ONE), upward)
        return (drawn + outward.to(tl.int32) >= ONE) ^ (x < 0)
    downward = tl.ceil((high - x) / gap * ONE)
    chance = tl.where((high <= 0) & (low < 0), ONE - downward, upward)
    return drawn + chance.to(tl.int32) >= ONE


@triton.jit
def units_between(start, end, gap, ONE: tl.constexpr):
    """See `rounding._units_between`."""
    difference = end - start
    rest = end - difference
    error = (end - (difference + rest)) + (rest - start)
    place = difference / gap * ONE
    floor = tl.floor(place)
    return floor - ((error < 0) & (place == floor)).to(tl.float64)


@triton.jit
def round_scaled(bits, scaled, factor, words, values, edges, R: tl.constexpr):
    """What a value becomes, and what is counted of it.

    Args:
        bits, scaled: of the value before and after it was divided by `factor`.
        values, edges: of the table, where there is one.

    Returns:
        The bits of the rounded value times `factor`; whether it overflowed; whether it became zero.
    """
    negative = bits < 0
    size = scaled & MAGNITUDE
    if R.is_table:
        spot = scaled ^ ((scaled >> 31) & MAGNITUDE)
        over = (spot > R.highest) | (spot < R.lowest)
        rounded = as_bits(tl.load(values + rung_by_table(scaled, words, values, edges, R)))
    else:
        over = size > R.largest
        rounded = round_magnitude(size, negative, words, R)
    is_zero = (rounded & MAGNITUDE) == 0
    if R.above != 0:
        rounded = tl.where((size >= R.above_from) & (bits >= 0), R.above, rounded)
    if R.below != 0:
        rounded = tl.where((size >= R.below_from) & negative, R.below, rounded)
    product = as_bits(as_float(rounded) * factor)
    if R.is_table:  # signed already, but for what is zero or special
        unsigned = is_zero if R.keeps_zero else is_zero & (bits != bits)
        if R.below != 0:
            unsigned = unsigned | ((size >= R.below_from) & negative)
        product = tl.where(unsigned, product | (bits & SIGN), product)
    elif R.keeps_zero:
        product = product | (bits & SIGN)
    else:
        product = product | tl.where(rounded > 0, bits & SIGN, 0)
    return product, over, is_zero


@triton.jit
def with_nonfinite(product, bits, factor, R: tl.constexpr):
    """What infinities become where overflow does not saturate, and what all becomes at a scale that is NaN."""
    if R.above != 0:
        product = tl.where(
            bits == INFINITY, as_bits(as_float(tl.full(bits.shape, R.above, tl.int32)) * factor), product
        )
    if R.below != 0:
        product = tl.where(
            bits == (INFINITY | SIGN),
            as_bits(as_float(tl.full(bits.shape, R.below, tl.int32)) * factor) | SIGN,
            product,
        )
    return tl.where(factor == factor, product, 0x7FC00000)

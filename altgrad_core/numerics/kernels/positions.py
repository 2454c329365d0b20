"""Rung numbers and positions on an eXmY grid, and the values at a position.

Facts of a format, int32: low, largest, shift, offset (see `Arithmetic`), and the number of the last rung.
"""

from __future__ import annotations

import numpy as np

from altgrad_core.numerics.kernels.bits import (
    BINADE,
    BLOCK,
    INFINITY,
    MAGNITUDE,
    ONE,
    ZERO,
    F,
    I,
    as_bits,
    as_float,
    compiled,
    items_at,
)

BIAS = np.int64((1023 - 127) << 52)  # float64 bits, of the difference of the two exponent biases
MORE_BITS, ONE_BIT = np.int64(52 - 23), np.int64(1)  # of the significand of a float64 than of a float32


@compiled
def rung_facts(facts):
    """What counting rungs needs: low, largest, shift, and three numbers that follow.

    They are: 2 ** shift; the bits of 1.5 * 2 ** 23 quanta, to which adding rounds to whole quanta; and by how many
    float32 bits the last rung lies above zero, as `rung_of_place` counts.
    """
    low, largest, shift = facts[0], facts[1], facts[2]
    magic = I(I(low - I(I(I(23) - shift) << I(23))) + I(0x0BC00000))
    return low, largest, shift, I(ONE << shift), magic, I(largest - I(low - BINADE))


@compiled
def whole_units(place, shift, unit):
    """The whole number of units, 2 ** shift float32 bits, nearest to a place, ties to even; it may be negative."""
    odd = shifted(I(place & unit), shift)
    return shifted(I(I(place + I(I(unit >> ONE) - ONE)) + odd), shift)


@compiled
def shifted(x, shift):
    """x >> shift, in 32 bits: the compiler must see that the shift is less than that."""
    return I(x >> I(shift & I(31)))


@compiled
def rung_below(bits, facts):
    """The magnitude of the rung number nearest to x, ties to even, where |x| is less than `low`."""
    magic = facts[4]
    return I(as_bits(F(as_float(I(bits & MAGNITUDE)) + as_float(magic))) - magic)


@compiled
def size_in_rungs(bits, facts):
    """The magnitude of the rung number nearest to x, ties to even; `bits` are those of x, which is not NaN."""
    low, largest, shift, unit = facts[0], facts[1], facts[2], facts[3]
    magnitude = min(I(bits & MAGNITUDE), largest)
    normal = whole_units(I(magnitude - I(low - BINADE)), shift, unit)
    return normal if magnitude >= low else rung_below(magnitude, facts)


@compiled
def rung_of(bits, facts):
    """The rung number nearest to x, ties to even, int32; `bits` are those of x, which is not NaN."""
    size, sign = size_in_rungs(bits, facts), I(bits >> I(31))
    return I(I(size ^ sign) - sign)


@compiled
def place_of(magnitude, low):
    """By how many float32 bits a magnitude lies above zero, where |x| + N stands for x below N; `low`: bits of N."""
    near_zero = I(as_bits(F(as_float(magnitude) + as_float(low))) - BINADE)
    return I((magnitude if magnitude >= low else near_zero) - I(low - BINADE))


@compiled
def rung_of_place(place, facts):
    """The rung number nearest to a place, see `place_of`; it may be negative."""
    shift, unit, end = facts[2], facts[3], facts[5]
    return whole_units(min(max(place, I(-end)), end), shift, unit)


@compiled
def position_of(scaled, low, largest, shift, offset, top, quantum):
    """The rung position of a float64 in units of the grid, interpolated and continued beyond the ends, float64."""
    gap = np.float64(as_float(largest)) - np.float64(value_of(I(top - ONE), low, shift, offset, quantum))
    second = np.float64(as_float(largest)) - gap
    per_quantum = 1.0 / np.float64(quantum)
    size = abs(np.float64(scaled))
    bits, width = np.float64(size).view(np.int64) - BIAS, np.int64(shift) + MORE_BITS
    rung = bits >> width
    normal = np.float64(rung - offset) + np.float64(bits - (rung << width)) / np.float64(ONE_BIT << width)
    inner = normal if size >= as_float(low) else size * per_quantum
    outer = (top - 1) + (size - second) / gap
    u = outer if size > as_float(largest) else inner
    return u if scaled >= 0 else -u


@compiled
def value_of(rung, low, shift, offset, quantum):
    """The value of a rung that is not negative, float32."""
    normal = as_float(I(I(rung + offset) << I(shift & I(31))))
    near_zero = F(F(rung) * quantum)
    return normal if rung >= I(shifted(low, shift) - offset) else near_zero


@compiled
def value_of_position(u, low, largest, shift, offset, top, quantum):
    """The inverse of `position_of`, float64."""
    first_normal = np.float64(I(low >> shift) - offset) if low < largest else np.inf
    last_cell, per_binade = np.float64(top - 1), 1.0 / np.float64(I(ONE << I(I(23) - shift)))
    a = abs(u)
    cell = I(min(a, last_cell))
    bits = I(I(cell + offset) << shift)
    width = np.float64(as_float(I(bits & INFINITY))) * per_binade
    value = np.float64(as_float(bits)) + (a - cell) * width if a >= first_normal else a * np.float64(quantum)
    return value if u >= 0 else -value


@compiled
def nearest_rung(x_at, out, scales, facts):
    """The rung number nearest to x / scale, ties to even, into `out`, int32 of shape (n,); NaN gives rung 0.

    Args:
        x_at: the address of n float32. scales: float32, shape (1,) or (n,).
    """
    x, rungs = items_at(x_at, out.size, np.int32), rung_facts(facts)
    step = 0 if scales.size == 1 else 1
    for i in range(x.size):
        out[i] = nearest_to(x[i], scales[i * step], rungs)


@compiled
def nearest_to(bits, scale, rungs):
    """The rung number nearest to x / scale, ties to even, int32; NaN gives rung 0."""
    scaled = as_bits(F(as_float(bits) / scale))
    return ZERO if I(scaled & MAGNITUDE) > INFINITY else rung_of(scaled, rungs)


@compiled
def movement(before_at, after_at, gradient_at, size, scales, facts, counts):
    """Flips, updates, flips among updates, and elements, into `counts`, int64, which is zero; all stay 0 where `after` has a NaN.

    Args:
        before_at, after_at, gradient_at: the addresses of `size` float32. scales: float32, shape (1,) or (size,).
    """
    if size == 0:
        return
    before, after = items_at(before_at, size, np.int32), items_at(after_at, size, np.int32)
    gradient = items_at(gradient_at, size, np.int32)
    rungs = rung_facts(facts)
    same = np.full(min(BLOCK, after.size), scales[0])  # read like scales of their own, by vectors
    for start in range(0, after.size, BLOCK):
        stop = min(start + BLOCK, after.size)
        old, new, by = before[start:stop], after[start:stop], gradient[start:stop]
        each = same if scales.size == 1 else scales[start:stop]
        flips, updates, moved, nans = ZERO, ZERO, ZERO, ZERO
        for i in range(new.size):
            flipped = I(nearest_to(old[i], each[i], rungs) != nearest_to(new[i], each[i], rungs))
            updated = I(I(by[i] & MAGNITUDE) != ZERO)
            flips, updates, moved = I(flips + flipped), I(updates + updated), I(moved + I(flipped & updated))
            nans = I(nans + I(I(new[i] & MAGNITUDE) > INFINITY))
        if nans:
            counts[:] = 0
            return
        counts[0] += flips
        counts[1] += updates
        counts[2] += moved
    counts[3] = after.size


@compiled
def position(x_at, out, scales, facts, quantum):
    """The rung position of x / scale into `out`, float64 of shape (n,); quantum: the smallest positive value."""
    x = items_at(x_at, out.size, np.int32)
    low, largest, shift, offset, top = facts[0], facts[1], facts[2], facts[3], facts[4]
    step = 0 if scales.size == 1 else 1
    for i in range(x.size):
        scaled = np.float64(as_float(x[i])) / np.float64(scales[i * step])
        out[i] = position_of(scaled, low, largest, shift, offset, top, quantum)


@compiled
def value_at(u, out, scales, facts, quantum):
    """The inverse of `position`: scale times the value at rung position `u`, float64, into `out`, float32."""
    low, largest, shift, offset, top = facts[0], facts[1], facts[2], facts[3], facts[4]
    step = 0 if scales.size == 1 else 1
    for i in range(u.size):
        out[i] = F(value_of_position(u[i], low, largest, shift, offset, top, quantum) * np.float64(scales[i * step]))


@compiled
def spacing(x_at, out, scales, facts, quantum):
    """The width of the cell that holds x / scale, on a rung the one away from zero, times scale, into `out`, float32."""
    x = items_at(x_at, out.size, np.int32)
    low, largest, shift, offset, top = facts[0], facts[1], facts[2], facts[3], facts[4]
    last = F(as_float(largest) - value_of(I(top - ONE), low, shift, offset, quantum))
    per_binade = F(F(1.0) / F(I(ONE << I(I(23) - shift))))
    step = 0 if scales.size == 1 else 1
    for i in range(x.size):
        scale = scales[i * step]
        magnitude = I(as_bits(F(as_float(x[i]) / scale)) & MAGNITUDE)
        width = F(as_float(I(magnitude & INFINITY)) * per_binade)
        width = width if width > quantum else quantum
        out[i] = F((last if magnitude >= largest else width) * scale)

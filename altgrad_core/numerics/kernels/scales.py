"""Amax, and the scales of rows and blocks, as `scaling.scale_for` defines them, inside a compiled pass."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from altgrad_core.numerics.kernels.bits import (
    INFINITY,
    MAGNITUDE,
    ONE,
    SIXTEEN,
    ZERO,
    F,
    I,
    as_bits,
    as_float,
    compiled,
    items_at,
)
from altgrad_core.numerics.scaling import EXPONENT_LIMIT

GIVEN, TO_POWER, EXACT, TWO_LEVEL = range(4)  # kinds of rules
LANES = 16
LONG = 128  # elements from which on a block is a loop of its own
SIGNIFICAND, SMALLEST_NORMAL = np.int32(0x7FFFFF), np.int32(0x00800000)
SUBNORMAL_POWER = np.int32(0x00400000)  # float32 bits of 2 ** -127
LIMIT = 2.0**EXPONENT_LIMIT


@compiled
def amax_bits(x):
    """The float32 bits of the largest finite magnitude in `x`, int32 (float32) or uint16 (bfloat16); 0 for none."""
    top = ZERO
    for i in range(x.size):
        raw = I((I(I(x[i]) << SIXTEEN) if x.itemsize == 2 else I(x[i])) & MAGNITUDE)
        top = raw if raw > top else top
    return top if top < INFINITY else finite_amax_bits(x)


@compiled
def finite_amax_bits(x):
    """The same where some are infinite or NaN."""
    top = ZERO
    for i in range(x.size):
        raw = I((I(I(x[i]) << SIXTEEN) if x.itemsize == 2 else I(x[i])) & MAGNITUDE)
        top = raw if (raw > top) & (raw < INFINITY) else top
    return top


@compiled
def amax_bits_at(x_at, size, is_half):
    """The amax bits of `size` elements at an address: bits of bfloat16 if `is_half`, else of float32."""
    if is_half:
        return amax_bits(items_at(x_at, size, np.uint16))
    return amax_bits(items_at(x_at, size, np.int32))


@compiled
def whole_scale(x_at, size, is_half, rule, scale_at):
    """The one scale of all, written to an address as a float32, and returned; see `amax_bits_at` and `scale_at`."""
    scale = items_at(scale_at, 1, np.float32)
    scale[0] = as_float(amax_bits_at(x_at, size, is_half))
    to_scales(scale, rule)
    return scale[0]


@compiled
def block_amax_bits(x_at, size, is_half, layout, out):
    """The amax bits of every block of every row, into `out`, int32; see `amax_bits_at`."""
    block, row = layout[0], layout[1]
    apiece = 2 if is_half else 4
    n = 0
    for begin in range(0, size, row):
        for first in range(begin, begin + row, block):
            out[n] = amax_bits_at(x_at + first * apiece, min(first + block, begin + row) - first, is_half)
            n += 1


@compiled
def block_at(position, layout):
    """The block that holds an element: its number, and where it begins and ends.

    layout: int64: elements of a block; elements of a row; how many scales are known already.
    """
    block, row = layout[0], layout[1]
    line = position // row
    within = (position - line * row) // block
    begin = line * row + within * block
    return line * ((row + block - 1) // block) + within, begin, min(begin + block, (line + 1) * row)


@compiled
def scale_at(x, position, layout, rule, scales):
    """The scale of the block that holds an element, made if it is not known yet, and where that block ends.

    Args:
        x: as the quantizing kernels have it, whole.
        layout: see `block_at`; updated.
        rule: float64: the kind; the format's largest value, its exponent and significand bits; the margin, as a power
            of two for EXACT; 1 where scales round up; the limit of exponents. For TWO_LEVEL the largest value and the
            margin are the divisor and the factor of `scaling.tensor_scale_for`, and the last is the tensor's scale.
        scales: float32, one for each block of each row.
    """
    number, begin, end = block_at(position, layout)
    if number >= layout[2]:
        if rule[0] != GIVEN:
            one = scales[number : number + 1]
            one[0] = as_float(amax_bits(x[begin:end]))
            to_scales(one, rule)
        layout[2] = number + 1
    return scales[number], end


@compiled
def spread_scales(x, start, stop, layout, rule, scales, factors):
    """The scale of every element from `start` to `stop` into `factors`, float32."""
    position = start
    while position < stop:
        scale, end = scale_at(x, position, layout, rule, scales)
        to = min(end, stop) - start
        for i in range(position - start, to):
            factors[i] = scale
        position = start + to


@intrinsic
def splat(typing_context, array, index, value):
    """array[index : index + LANES] = value, as one store; a loop of so few would be as many stores. No bounds checks."""

    def generate(context, builder, signature, arguments):
        kind = signature.args[0]
        lanes = ir.VectorType(context.get_data_type(kind.dtype), LANES)
        one = builder.insert_element(ir.Constant(lanes, ir.Undefined), arguments[2], ir.IntType(32)(0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
        place = builder.gep(make_array(kind)(context, builder, arguments[0]).data, [arguments[1]])
        filled = builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), first)
        builder.store(filled, builder.bitcast(place, lanes.as_pointer()), align=kind.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, array.dtype), generate


@intrinsic(prefer_literal=True)
def top_of(typing_context, array, index, size):
    """The largest magnitude, as float32 bits, of `size` elements from `index` on, NaN included; `size` is a constant."""
    count = size.literal_value

    def generate(context, builder, signature, arguments):
        kind, i32 = signature.args[0], ir.IntType(32)
        items, wide = ir.VectorType(context.get_data_type(kind.dtype), count), ir.VectorType(i32, count)
        place = builder.gep(make_array(kind)(context, builder, arguments[0]).data, [arguments[1]])
        bits = builder.load(builder.bitcast(place, items.as_pointer()), align=kind.dtype.bitwidth // 8)
        if kind.dtype.bitwidth == 16:
            bits = builder.shl(builder.zext(bits, wide), ir.Constant(wide, [16] * count))
        magnitudes = builder.and_(bits, ir.Constant(wide, [int(MAGNITUDE)] * count))
        name = f"llvm.vector.reduce.umax.v{count}i32"
        known = builder.module.globals.get(name)
        return builder.call(known or ir.Function(builder.module, ir.FunctionType(i32, [wide]), name), [magnitudes])

    return types.int32(array, types.intp, size), generate


def _short_blocks(size):
    """`spread_scales` for whole blocks of a size known to the compiler, one after another without rows."""

    def spread(x, start, stop, rule, scales, factors):
        first, count = start // size, (stop - start) // size
        mine = scales[first : first + count]
        if rule[0] != GIVEN:
            for n in range(count):
                mine[n] = as_float(top_of(x, start + n * size, size))
            for n in range(count):
                if as_bits(mine[n]) >= INFINITY:
                    mine[n] = as_float(finite_amax_bits(x[start + n * size : start + (n + 1) * size]))
            to_scales(mine, rule)
        for n in range(count):
            for i in range(0, size, LANES):
                splat(factors, n * size + i, mine[n])

    return compiled(spread)


spread_16, spread_32, spread_64 = _short_blocks(16), _short_blocks(32), _short_blocks(64)


@compiled
def spread_panel(x, start, stop, layout, rule, scales, factors):
    """`spread_scales` by the fastest way there is for this layout."""
    whole = layout[1] == x.size and start % layout[0] == 0 and (stop - start) % layout[0] == 0
    if whole and layout[0] == 16:
        spread_16(x, start, stop, rule, scales, factors)
    elif whole and layout[0] == 32:
        spread_32(x, start, stop, rule, scales, factors)
    elif whole and layout[0] == 64:
        spread_64(x, start, stop, rule, scales, factors)
    elif whole and layout[0] == 1 and rule[0] == GIVEN:
        factors[: stop - start] = scales[start:stop]
    else:
        spread_scales(x, start, stop, layout, rule, scales, factors)


@compiled
def to_scales(amaxes, rule):
    """Each amax becomes its scale, in place; float32, shape (n,). 0 counts as 1."""
    largest, own_exponent, own_significand = rule[1], I(rule[2]), I(rule[3])
    margin, goes_up, limit = rule[4], rule[5] > 0, rule[6]
    if rule[0] == TO_POWER:
        shift, most = I(I(margin) - own_exponent), I(limit)
        for n in range(amaxes.size):
            value = amaxes[n] if amaxes[n] > F(0.0) else F(1.0)
            tiny = value < as_float(SMALLEST_NORMAL)
            bits = as_bits(F(value * F(16777216.0)) if tiny else value)
            power = I(I(I(bits >> I(23)) - (I(24) if tiny else ZERO)) + shift)
            power = I(power + (ONE if goes_up & (I(bits & SIGNIFICAND) > own_significand) else ZERO))
            power = power if power > I(-most) else I(-most)
            power = power if power < most else most
            bits = I(I(power + I(127)) << I(23))
            amaxes[n] = as_float(bits if bits > ZERO else SUBNORMAL_POWER)
    else:
        for n in range(amaxes.size):
            value = np.float64(amaxes[n] if amaxes[n] > F(0.0) else F(1.0))
            if rule[0] == TWO_LEVEL:
                value = to_e4m3(value * margin / largest, goes_up) * limit
            else:
                value = value / largest * margin
            amaxes[n] = F(min(max(F(value), F(1.0 / LIMIT)), F(LIMIT)))


@compiled
def to_e4m3(value, goes_up):
    """The E4M3 value at or above a positive float64, or the nearest one, ties to even; never 0."""
    value = min(max(value, 2.0**-9), 448.0)
    binade = max((np.float64(value).view(np.int64) >> 52) - 1023, -6) - 3
    quantum = np.int64((binade + 1023) << 52).view(np.float64)
    steps = value / quantum
    return (np.ceil(steps) if goes_up else np.rint(steps)) * quantum

"""Rung positions on an eXmY grid and the values there, in float64, as `kernels.positions` has them."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.triton.bits import INFINITY, as_float

BIAS = tl.constexpr((1023 - 127) << 52)  # float64 bits, of the difference of the two exponent biases


@triton.jit
def value_of(rung, R: tl.constexpr):
    """The value of an int32 rung that is not negative, float32."""
    normal = as_float((rung + R.offset) << R.shift)
    return tl.where(rung >= (R.low >> R.shift) - R.offset, normal, rung.to(tl.float32) * R.quantum)


@triton.jit
def position_of(x, R: tl.constexpr):
    """The rung position of a float64 in units of the grid, interpolated and continued beyond the ends."""
    size = tl.abs(x)
    WIDTH: tl.constexpr = R.shift + 29
    bits = size.to(tl.int64, bitcast=True) - BIAS
    rung = bits >> WIDTH
    part = (bits - (rung << WIDTH)).to(tl.float64) * (1.0 / (1 << WIDTH))
    normal = (rung - R.offset).to(tl.float64) + part
    inner = tl.where(size >= R.low_value, normal, size * (1.0 / R.quantum))
    outer = (R.top - 1) + (size - R.second_value) / (R.largest_value - R.second_value)
    u = tl.where(size > R.largest_value, outer, inner)
    return tl.where(x >= 0, u, -u)


@triton.jit
def value_of_position(u, R: tl.constexpr):
    """The inverse of `position_of`."""
    a = tl.abs(u)
    cell = tl.minimum(a, R.top - 1.0).to(tl.int32)
    bits = (cell + R.offset) << R.shift
    width = as_float(bits & INFINITY).to(tl.float64) * (1.0 / (1 << (23 - R.shift)))
    value = a * R.quantum
    if R.low < R.largest:
        first_normal: tl.constexpr = (R.low >> R.shift) - R.offset
        value = tl.where(a >= first_normal, as_float(bits).to(tl.float64) + (a - cell.to(tl.float64)) * width, value)
    return tl.where(u >= 0, value, -value)

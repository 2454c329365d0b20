"""Float32 values as the integers they are made of, bfloat16 values as their upper halves; and the counts of a pass."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.triton import facts

MAGNITUDE = tl.constexpr(0x7FFFFFFF)
SIGN = tl.constexpr(-0x80000000)
INFINITY = tl.constexpr(facts.NEVER)


@triton.jit
def as_float(bits):
    """The float32 with these int32 bits."""
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def as_bits(value):
    """The int32 bits of a float32."""
    return value.to(tl.int32, bitcast=True)


@triton.jit
def bits_of(item):
    """The float32 bits of what was loaded: int32 bits of float32, int16 bits of bfloat16, or float16 itself."""
    if item.dtype == tl.int16:
        bits = item.to(tl.int32) << 16
    elif item.dtype == tl.float16:
        bits = as_bits(item.to(tl.float32))
    else:
        bits = item
    return bits


@triton.jit
def packed(bits, item, EXACT: tl.constexpr):
    """Float32 bits in the type of `item`, rounded to nearest, ties to even; EXACT: as bfloat16 nothing is lost. Not for NaN."""
    if item.dtype == tl.int16:
        if EXACT:
            result = (bits >> 16).to(tl.int16)
        else:
            result = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(tl.int16)
    elif item.dtype == tl.float16:
        result = as_float(bits).to(tl.float16)
    else:
        result = bits
    return result


@triton.jit
def count(counts, place: tl.constexpr, number):
    """Add an int32 number to one of the counts; integers, so that the order of the programs does not matter."""
    tl.atomic_add(counts + place, number.to(tl.int64), mask=number != 0, sem="relaxed")


@triton.jit
def count_finite(counts, top, under):
    """Take in the amax bits of one program, and its underflows: see `facts.COUNTS`."""
    tl.atomic_max(counts, top.to(tl.int64), mask=top > 0, sem="relaxed")
    count(counts, 2, under)

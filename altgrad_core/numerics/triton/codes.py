"""Codes: those of rounded values, and the values of codes."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.random import GROUP
from altgrad_core.numerics.triton.bits import INFINITY, MAGNITUDE, as_bits, as_float, bits_of, count
from altgrad_core.numerics.triton.flat import group_words
from altgrad_core.numerics.triton.rounding import round_magnitude, rung_by_table

GROUP_OF, COUNTERS = tl.constexpr(GROUP), tl.constexpr(GROUP // 4)


@triton.jit
def rung_number(bits, scaled, words, values, edges, R: tl.constexpr):
    """The index of the rung that a value rounds to, and whether it is below zero and becomes zero."""
    negative = bits < 0
    if R.is_table:
        index = rung_by_table(scaled, words, values, edges, R)
    else:
        rounded = round_magnitude(scaled & MAGNITUDE, negative, words, R)
        number = (rounded >> R.shift) - R.offset
        if not R.is_bits:
            number = tl.where(rounded >= R.low, number, (as_float(rounded) * (1.0 / R.quantum)).to(tl.int32))
        index = R.origin + tl.where(negative, -number, number)
    return index, negative & (index == R.origin)


@triton.jit
def codes_of(bits, scaled, words, values, edges, codes, R: tl.constexpr):
    """The codes of values, int32; see `encode_pass`."""
    index, is_minus_zero = rung_number(bits, scaled, words, values, edges, R)
    size = scaled & MAGNITUDE
    code = tl.load(codes + index)
    if R.keeps_zero:
        code = tl.where(is_minus_zero, tl.load(codes + R.rungs), code)
    if R.above != 0:
        leaves = ((size >= R.above_from) & (bits >= 0)) | (bits == INFINITY)
        code = tl.where(leaves, tl.load(codes + (R.rungs + 1)), code)
    if R.below != 0:
        leaves = ((size >= R.below_from) & (bits < 0)) | (as_bits(-as_float(bits)) == INFINITY)
        code = tl.where(leaves, tl.load(codes + (R.rungs + 2)), code)
    is_nan = (bits & MAGNITUDE) > INFINITY
    return tl.where(is_nan, tl.load(codes + (R.rungs + 3)), code), is_nan


@triton.jit(do_not_specialize=["low_key", "high_key"])
def encode_pass(x, out, scale, counts, values, edges, codes, n, low_key, high_key, R: tl.constexpr, BIG: tl.constexpr):
    """The codes of x / scale into `out`, and how many are NaN into `counts[3]`; a program takes a group of random words.

    Args:
        x: see `bits.bits_of`, shape (n,); scale: float32, shape (1,).
        codes: int32: of each rung; of -0, of what lies above and below the ends, of NaN.
        out: uint8 or int16, shape (n,).
    """
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    lane = tl.arange(0, COUNTERS)
    factor = tl.load(scale)
    a, b, c, d = lane, lane, lane, lane
    if R.random_bits > 0:
        a, b, c, d = group_words(start, low_key, high_key)
    for word in tl.static_range(4):
        at = start * GROUP_OF + word * COUNTERS + lane
        drawn = (a if word == 0 else b if word == 1 else c if word == 2 else d).to(tl.int32, bitcast=True)
        bits = bits_of(tl.load(x + at, mask=at < n, other=0))
        scaled = as_bits(tl.div_rn(as_float(bits), factor))
        code, is_nan = codes_of(bits, scaled, drawn, values, edges, codes, R)
        tl.store(out + at, code.to(out.dtype.element_ty), mask=at < n)
        count(counts, 3, tl.sum(is_nan.to(tl.int32), axis=0))


@triton.jit
def decode_pass(codes, table, out, n, scale, BIG: tl.constexpr, BLOCK: tl.constexpr):
    """table[code] times scale of every code into `out`, float32; codes uint8 or int16, shape (n,)."""
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    at = start * BLOCK + tl.arange(0, BLOCK)
    code = tl.load(codes + at, mask=at < n, other=0).to(tl.int32) & 0xFFFF
    tl.store(out + at, tl.load(table + code) * scale, mask=at < n)

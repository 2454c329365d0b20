"""Rungs, positions, values and spacings of whole tensors on an eXmY grid, each in one pass."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.triton.bits import INFINITY, MAGNITUDE, as_bits, as_float, bits_of
from altgrad_core.numerics.triton.positions import position_of, value_of_position
from altgrad_core.numerics.triton.walk import signed_rung


@triton.jit
def spacing_of(x, R: tl.constexpr):
    """The width of the cell that holds a float32 in units of the grid; on a rung the one away from zero."""
    magnitude = as_bits(x) & MAGNITUDE
    width = as_float(magnitude & INFINITY) * (1.0 / (1 << (23 - R.shift)))
    width = tl.where(width > R.quantum, width, R.quantum)
    return tl.where(magnitude >= R.largest, R.largest_value - R.second_value, width)


@triton.jit
def places_pass(
    x, out, scales, n,
    WHAT: tl.constexpr, R: tl.constexpr, APIECE: tl.constexpr, BIG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """See `ops.rung`, `ops.position`, `ops.value` and `ops.spacing`; WHAT is which.

    Args:
        x: shape (n,): the cells of float32, bfloat16 or float16; float64 positions where WHAT is `value`.
        out: int32 of `rung`, float64 of `position`, else float32.
        scales: float32: one, or APIECE one for each element.
    """
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    at = start * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    item = tl.load(x + at, mask=inside, other=0)
    scale = tl.load(scales + at, mask=inside, other=1.0) if APIECE else tl.load(scales)
    if WHAT == "value":
        result = (value_of_position(item, R) * scale.to(tl.float64)).to(tl.float32)
    elif WHAT == "position":
        result = position_of(as_float(bits_of(item)).to(tl.float64) / scale.to(tl.float64), R)
    elif WHAT == "rung":
        result = signed_rung(tl.div_rn(as_float(bits_of(item)), scale), R)
    else:
        result = spacing_of(tl.div_rn(as_float(bits_of(item)), scale), R) * scale
    tl.store(out + at, result, mask=inside)

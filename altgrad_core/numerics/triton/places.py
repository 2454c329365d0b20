"""Rungs, positions, values and spacings of whole tensors on an eXmY grid, and what a step did in rungs, each in one pass."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.triton.bits import INFINITY, MAGNITUDE, as_bits, as_float, bits_of, count
from altgrad_core.numerics.triton.positions import position_of, value_of_position
from altgrad_core.numerics.triton.walk import TICKETS, signed_rung

NANS = tl.constexpr(6)  # the place among the counts where NaNs are counted


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


@triton.jit
def movement_pass(
    old, new, by, scales, counts, n,
    R: tl.constexpr, APIECE: tl.constexpr, BIG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """See `Geometry.movement`.

    Args:
        old, new, by: shape (n,): the cells of the weight before and after the step, and of its gradient.
        scales: as `places_pass` has them.
        counts: int64, shape (8,), zero: `counts[1:5]` become the result, made by the program that is the last to end.
    """
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    at = start * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    before = bits_of(tl.load(old + at, mask=inside, other=0))
    after = bits_of(tl.load(new + at, mask=inside, other=0))
    gradient = bits_of(tl.load(by + at, mask=inside, other=0))
    scale = tl.load(scales + at, mask=inside, other=1.0) if APIECE else tl.load(scales)
    flipped = signed_rung(tl.div_rn(as_float(before), scale), R) != signed_rung(tl.div_rn(as_float(after), scale), R)
    updated = (gradient & MAGNITUDE) != 0
    count(counts, 1, tl.sum(flipped.to(tl.int32), axis=0))
    count(counts, 2, tl.sum(updated.to(tl.int32), axis=0))
    count(counts, 3, tl.sum((flipped & updated).to(tl.int32), axis=0))
    count(counts, NANS, tl.sum(((after & MAGNITUDE) > INFINITY).to(tl.int32), axis=0))
    tl.debug_barrier()
    if tl.atomic_add(counts + TICKETS, tl.full((), 1, tl.int64)) == tl.num_programs(0) - 1:
        nans = tl.atomic_add(counts + NANS, tl.full((), 0, tl.int64))
        none = tl.full((), 0, tl.int64)
        if nans > 0:
            tl.store(counts + 1, none)
            tl.store(counts + 2, none)
            tl.store(counts + 3, none)
        tl.store(counts + 4, tl.where(nans > 0, none, none + n))

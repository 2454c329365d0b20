"""Rounding a tensor element by element, at one scale or at one for each tile, in one pass."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.random import GROUP, ROUNDS
from altgrad_core.numerics.triton.bits import (
    INFINITY,
    MAGNITUDE,
    SIGN,
    as_bits,
    as_float,
    bits_of,
    count,
    count_finite,
    packed,
)
from altgrad_core.numerics.triton.rounding import added, cut, round_scaled, with_nonfinite
from altgrad_core.numerics.triton.scales import inverse_of, scale_of

COUNTERS = tl.constexpr(GROUP // 4)
GROUP_OF = tl.constexpr(GROUP)
PHILOX_ROUNDS = tl.constexpr(ROUNDS)
SMALLEST_NORMAL = tl.constexpr(2.0**-126)


@triton.jit
def own_scale(scale, counts, S: tl.constexpr):
    """The one scale of a tensor: loaded, or made of the amax that is in `counts` and stored."""
    if S.kind == "given":
        factor = tl.load(scale)
    else:
        if S.kind == "none":
            factor = tl.full((), 1.0, tl.float32)
        else:
            amax = as_float(tl.load(counts).to(tl.int32))
            factor = scale_of(amax, amax, S)
        if S.marks_lost:
            factor = tl.where(tl.load(counts + 5) != 0, float("nan"), factor)
        if tl.program_id(0) == 0:
            tl.store(scale, factor)
    return factor


@triton.jit
def divided(bits, factor, POWER: tl.constexpr):
    """The bits of a value over its scale; POWER: whether the scale is known to be a power of two with an inverse."""
    if POWER:
        scaled = as_bits(as_float(bits) * inverse_of(factor))
    else:
        scaled = as_bits(tl.div_rn(as_float(bits), factor))
    return scaled


@triton.jit
def round_plain(bits, factor, R: tl.constexpr, POWER: tl.constexpr):
    """Where `is_plain` and no table is looked at: what values become, and which of them become zero and were not."""
    scaled = divided(bits, factor, POWER)
    if R.is_bits:
        rounded = cut(scaled & MAGNITUDE, bits < 0, R)
    else:
        rounded = added(scaled & MAGNITUDE, bits < 0, R)
    product = as_bits(as_float(rounded) * factor)
    if R.keeps_zero:
        product = product | (bits & SIGN)
    else:
        product = product | tl.where(rounded > 0, bits & SIGN, 0)
    return product, (rounded == 0) & ((bits & MAGNITUDE) != 0)


@triton.jit
def quantize_pass(
    x, out, scale, counts, values, edges, n,
    R: tl.constexpr, S: tl.constexpr, POWER: tl.constexpr, EXACT: tl.constexpr, BIG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Round x / scale, times scale, into `out`, at one scale and without chance.

    Args:
        x, out: see `bits.bits_of`, shape (n,).
        scale: float32, shape (1,); read, or written, as the rule S says.
        counts: int64, see `facts.COUNTS`; the amax is there already where the rule asks for one.
        values, edges: float32 values of the rungs, and places of the steps, where R is a table.
        EXACT: as bfloat16 no result loses anything, unless it is subnormal.
    """
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    at = start * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    factor = own_scale(scale, counts, S)
    item = tl.load(x + at, mask=inside, other=0)
    top = tl.max(bits_of(item) & MAGNITUDE, axis=0)
    if R.is_table:
        careful(out + at, item, factor, bits_of(item), inside, values, edges, counts, R)
    elif is_plain(top, factor, R, POWER, EXACT):
        product, under = round_plain(bits_of(item), factor, R, POWER)
        tl.store(out + at, packed(product, item, EXACT), mask=inside)
        count_finite(counts, top, tl.sum(under.to(tl.int32), axis=0))
    else:
        careful(out + at, item, factor, bits_of(item), inside, values, edges, counts, R)


@triton.jit
def is_plain(top, factor, R: tl.constexpr, POWER: tl.constexpr, EXACT: tl.constexpr):
    """Whether nothing among values is infinite, NaN or beyond the ends of the grid, and nothing is lost as it is stored.

    Args:
        top: bits of their largest magnitude; factor: their scale.
    """
    plain = (top < INFINITY) & (divided(top, factor, POWER) <= R.largest) & (factor == factor)
    if EXACT:
        plain = plain & (factor * R.quantum >= SMALLEST_NORMAL)
    return plain


@triton.jit
def careful(to, item, factor, words, inside, values, edges, counts, R: tl.constexpr):
    """Round, store and count what may be infinite or NaN, at any scale, or rounded once more as it is stored."""
    top, beyond, special = rounded_carefully(to, item, factor, words, inside, values, edges, R, False)
    count_all(counts, top, beyond, special)


@triton.jit
def rounded_carefully(to, item, factor, words, inside, values, edges, R: tl.constexpr, POWER: tl.constexpr):
    """Round and store, and what `count_all` counts of each value."""
    bits = bits_of(item)
    scaled = divided(bits, factor, POWER)
    product, over, is_zero = round_scaled(bits, scaled, factor, words, values, edges, R)
    raw = bits & MAGNITUDE
    is_nan, is_infinite = (raw > INFINITY) & inside, (raw == INFINITY) & inside
    product = with_nonfinite(product, bits, factor, R)
    tl.store(to, tl.where(is_nan, item, kept_nan(product, item)), mask=inside)
    is_number = ((scaled & MAGNITUDE) <= INFINITY) & inside
    beyond = (over & is_number).to(tl.int32) + (is_zero & (raw > 0) & is_number).to(tl.int32) * 65536
    special = is_nan.to(tl.int32) + is_infinite.to(tl.int32) * 65536
    return tl.where(inside & (raw < INFINITY), raw, 0), beyond, special


@triton.jit
def count_all(counts, top, beyond, special):
    """Count: bits of finite magnitudes; overflows, and times 65536 underflows; NaNs, and times 65536 infinities."""
    beyond, special = tl.sum(tl.ravel(beyond), axis=0), tl.sum(tl.ravel(special), axis=0)
    count_finite(counts, tl.max(tl.ravel(top), axis=0), beyond >> 16)
    count(counts, 1, beyond & 0xFFFF)
    count(counts, 3, special & 0xFFFF)
    count(counts, 4, special >> 16)


@triton.jit
def kept_nan(bits, item):
    """`packed`, also for a NaN that was made."""
    is_nan = (bits & MAGNITUDE) > INFINITY
    return packed(tl.where(is_nan, 0x7FC00000, bits), item, False)


@triton.jit
def total(flags):
    """How many are true, int32."""
    return tl.sum(tl.ravel(flags.to(tl.int32)), axis=0)


@triton.jit
def tile_of(at, columns, rows, across, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, down):
    """The number of the tile that holds an element of a tensor of shape (batch, rows, columns)."""
    line = at // columns
    column = at - line * columns
    batch = line // rows
    row = line - batch * rows
    return (batch * down + row // TILE_ROWS) * across + column // TILE_COLUMNS


@triton.jit
def group_words(group, low_key, high_key):
    """The four words of each counter of a group, uint32 (see `numerics.random`)."""
    lane = tl.arange(0, COUNTERS)
    counter = group.to(tl.int64) * COUNTERS
    near, far = (counter & 0xFFFFFFFF).to(tl.uint32), (counter >> 32).to(tl.uint32)
    zero = tl.zeros_like(lane).to(tl.uint32)
    return tl.philox_impl(
        near + lane.to(tl.uint32), zero + far, zero, zero,
        low_key.to(tl.uint32), high_key.to(tl.uint32), PHILOX_ROUNDS,
    )  # fmt: skip


@triton.jit(do_not_specialize=["low_key", "high_key"])
def stochastic_pass(
    x, out, scale, counts, values, edges, n, low_key, high_key, columns, rows, across, down,
    R: tl.constexpr, S: tl.constexpr, POWER: tl.constexpr, TILED: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, BIG: tl.constexpr, LOADS_KEY: tl.constexpr,
):  # fmt: skip
    """As `quantize_pass`, by chance: each program takes one group of random words (see `numerics.random`).

    Args:
        low_key, high_key: the halves of the key of the stream, int32; LOADS_KEY: where the key is, int64, and 0.
        columns, rows, across, down: TILED: of the tensor, and how many tiles that makes; `scale` has one for each.
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
    if not TILED:
        factor = own_scale(scale, counts, S)
    top, beyond, special = tl.zeros_like(lane), tl.zeros_like(lane), tl.zeros_like(lane)
    for word in tl.static_range(4):
        at = start * GROUP_OF + word * COUNTERS + lane
        inside = at < n
        drawn = (a if word == 0 else b if word == 1 else c if word == 2 else d).to(tl.int32, bitcast=True)
        if TILED:
            tile = tile_of(at, columns, rows, across, TILE_ROWS, TILE_COLUMNS, down)
            factor = tl.load(scale + tile, mask=inside, other=1.0)
        item = tl.load(x + at, mask=inside, other=0)
        result = rounded_carefully(out + at, item, factor, drawn, inside, values, edges, R, POWER)
        top, beyond, special = tl.maximum(top, result[0]), beyond + result[1], special + result[2]
    count_all(counts, top, beyond, special)

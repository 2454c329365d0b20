"""Rounding a tensor whose tiles have scales of their own: amax, scale and rounding of a tile in one pass."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.triton.bits import INFINITY, MAGNITUDE, as_float, bits_of, count_finite, packed
from altgrad_core.numerics.triton.flat import careful, is_plain, round_plain, total
from altgrad_core.numerics.triton.scales import scale_of


@triton.jit
def places(first, chunk, columns, rows, across, down, tiles, L: tl.constexpr):
    """Where the elements of some tiles lie, and which of them exist: both of shape (L.tiles, L.elements).

    Args:
        first: the number of the first tile; chunk: how many elements of each tile come before.
        columns, rows: of the tensor, (batch, rows, columns); across, down: how many tiles that makes; tiles: of all.
        L: the layout.
    """
    tile = first + tl.arange(0, L.tiles)
    left = (tile % across) * L.tile_columns
    above = tile // across
    upper = (above % down) * L.tile_rows
    batch = above // down
    if L.is_big:
        batch = batch.to(tl.int64)
    corner = (batch * rows + upper) * columns + left
    element = chunk * L.elements + tl.arange(0, L.elements)
    if L.tile_rows == 1:
        at = corner[:, None] + element[None, :]
        inside = (element < L.tile_columns)[None, :] & (tile < tiles)[:, None]
        if not L.is_whole:
            inside = inside & (element[None, :] < (columns - left)[:, None])
    else:
        row, column = element // L.tile_columns, element % L.tile_columns
        at = corner[:, None] + (row * columns + column)[None, :]
        inside = (row < L.tile_rows)[None, :] & (tile < tiles)[:, None]
        inside = inside & (row[None, :] < (rows - upper)[:, None]) & (column[None, :] < (columns - left)[:, None])
    return at, inside


@triton.jit
def tiles_pass(
    x, out, scale, counts, values, edges, columns, rows, across, down, tiles,
    R: tl.constexpr, S: tl.constexpr, L: tl.constexpr, GIVES: tl.constexpr, POWER: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """The amax of each tile, its scale, and x / scale rounded, times scale, without chance.

    Args:
        x, out, counts, values, edges: as `flat.quantize_pass`; x is contiguous.
        scale: float32, one for each tile: read or written as the rule S says; where only amaxes are asked for, these.
        columns, rows, across, down, tiles, L: see `places`.
        GIVES: `amax`, `scales` or `values`.
    """
    first = tl.program_id(0) * L.tiles
    tile = first + tl.arange(0, L.tiles)
    at, inside = places(first, 0, columns, rows, across, down, tiles, L)
    item = tl.load(x + at, mask=inside, other=0)
    if S.kind == "given":
        factor = tl.load(scale + tile, mask=tile < tiles, other=1.0)
    else:
        raw = bits_of(item) & MAGNITUDE
        top = tl.max(tl.where(raw < INFINITY, raw, 0), axis=1)
        most = tl.max(raw, axis=1)
        for chunk in range(1, L.chunks):
            at, inside = places(first, chunk, columns, rows, across, down, tiles, L)
            raw = bits_of(tl.load(x + at, mask=inside, other=0)) & MAGNITUDE
            top = tl.maximum(top, tl.max(tl.where(raw < INFINITY, raw, 0), axis=1))
            most = tl.maximum(most, tl.max(raw, axis=1))
        factor = as_float(top)
        if GIVES != "amax":
            whole = factor
            if S.kind == "two-level":
                whole = as_float(tl.load(counts).to(tl.int32))
            factor = scale_of(factor, whole, S)
            if S.marks_lost:
                factor = tl.where(most >= INFINITY, float("nan"), factor)
        tl.store(scale + tile, factor, mask=tile < tiles)
    if GIVES == "values":
        for chunk in range(L.chunks):
            at, inside = places(first, chunk, columns, rows, across, down, tiles, L)
            if L.chunks > 1:
                item = tl.load(x + at, mask=inside, other=0)
            round_tiles(out + at, item, factor, inside, counts, values, edges, R, POWER, EXACT)


@triton.jit
def round_tiles(
    to, item, factor, inside, counts, values, edges, R: tl.constexpr, POWER: tl.constexpr, EXACT: tl.constexpr
):
    """Round some elements of some tiles at their scales, store and count them."""
    top = tl.max(bits_of(item) & MAGNITUDE, axis=1)
    if R.is_table:
        careful(to, item, factor[:, None], bits_of(item), inside, values, edges, counts, R)
    elif tl.min(is_plain(top, factor, R, POWER, EXACT).to(tl.int32), axis=0) > 0:
        product, under = round_plain(bits_of(item), factor[:, None], R, POWER)
        tl.store(to, packed(product, item, EXACT), mask=inside)
        count_finite(counts, tl.max(top, axis=0), total(under))
    else:
        careful(to, item, factor[:, None], bits_of(item), inside, values, edges, counts, R)

"""Quantization as the definition has it, on any device: the judge of every fast path."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from altgrad_core.numerics.rounding import round_to_index, round_to_values
from altgrad_core.numerics.scaling import blocks_in, spread
from altgrad_core.numerics.tally import Quantized, Tally

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.format import Format
    from altgrad_core.numerics.quantizer import Quantizer


def finite_amax(x: Tensor, block: int | None = None) -> Tensor:
    """The largest finite magnitude, 0 where there is none: float32 of shape (), or of each block of each row."""
    import torch
    from torch.nn.functional import pad

    magnitude = x.detach().abs()
    magnitude = magnitude.where(magnitude.isfinite(), 0.0)
    if x.dtype == torch.float64:
        magnitude = magnitude.clamp(max=torch.finfo(torch.float32).max)
    magnitude = magnitude.to(torch.float32)
    if block is None:
        return magnitude.max() if x.numel() else torch.zeros((), dtype=torch.float32, device=x.device)
    blocks = blocks_in(x.shape[-1], block)
    if x.numel() == 0:
        return magnitude.new_zeros((*x.shape[:-1], blocks))
    padded = pad(magnitude, (0, blocks * block - x.shape[-1]))
    return padded.unflatten(-1, (blocks, block)).amax(dim=-1)


def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: int | None = None, out: Tensor | None = None
) -> Quantized:
    """As `Quantizer.quantize`."""
    import torch

    block = how.block_of(x)
    if scale is None:
        scale = how.scale_of(finite_amax(x, block))
    format = how.target
    wide = _wide(x)
    divisor = spread(scale, x.shape, block).to(x.device, wide.dtype)  # a number of the CPU would be multiplied with
    scaled = wide / divisor
    rounded = _round(wide, scaled, how, key)
    values = torch.where(wide.isnan(), wide, rounded * divisor).to(x.dtype)
    tally = Tally(
        elements=x.numel(),
        amax=finite_amax(wide),
        overflow=((scaled > max(format.grid.highest, 0.0)) | (scaled < min(format.grid.lowest, 0.0))).sum(),
        underflow=((rounded == 0) & (wide != 0) & ~wide.isnan()).sum(),
        nan=wide.isnan().sum(),
        infinite=wide.isinf().sum(),
    )
    return Quantized(values if out is None else out.copy_(values), scale, tally)


def _wide(x: Tensor) -> Tensor:
    """The values as the arithmetic takes them: float64 stays, all else is float32."""
    import torch

    return x.detach() if x.dtype == torch.float64 else x.detach().to(torch.float32)


def _round(wide: Tensor, scaled: Tensor, how: Quantizer, key: int | None) -> Tensor:
    """Round `scaled`, which is `wide` over its scale; -0 and specials included, NaN gives any value."""
    import torch

    grid = how.target.grid
    rounded = round_to_values(scaled, grid, rounding=how.rounding, key=key).to(wide.dtype)
    if grid.negative_zero is not None:
        rounded = torch.where(rounded == 0, rounded.copysign(scaled), rounded)
    if how.overflow == "specials":
        rounded = _with_specials(scaled, wide, rounded, how.target, how.rounding)
    return rounded


def encode(x: Tensor, how: Quantizer, *, scale: Tensor, key: int | None, out: Tensor) -> int:
    """The codes of x / scale into `out`; returns the number of NaNs, whose codes mean nothing without a NaN code."""
    import torch

    format, grid, wide = how.target, how.target.grid, _wide(x)
    rounded = _round(wide, wide / scale.to(wide.dtype), how, key)
    codes = torch.tensor(grid.codes, device=x.device)[round_to_index(rounded, grid)]
    if grid.negative_zero is not None:
        codes = codes.masked_fill((rounded == 0) & rounded.signbit(), grid.negative_zero)
    for sign in (1, -1):
        if (code := format.infinity_code(sign)) is not None:
            codes = codes.masked_fill(rounded == sign * math.inf, code)
    if format.nan_code is not None:
        codes = codes.masked_fill(rounded.isnan() | wide.isnan(), format.nan_code)
    out.copy_(codes)
    return int(wide.isnan().sum())


def decode(codes: Tensor, format: Format, *, scale: float, out: Tensor) -> None:
    """The values of `codes` times scale into `out`, float32."""
    import torch

    table = torch.tensor(format.table, dtype=torch.float32, device=codes.device)
    torch.mul(table[codes.to(torch.int64)], scale, out=out)


def special_beyond(format: Format, sign: int) -> float | None:
    """What lies beyond the largest value on one side where overflow is not saturated: infinity, NaN, or nothing."""
    if format.infinity_code(sign) is not None:
        return sign * math.inf
    return math.nan if format.nan_code is not None else None


def overflow_threshold(format: Format, sign: int, rounding: str) -> tuple[float, bool] | None:
    """The magnitude from which rounding leaves the grid on one side, and whether the threshold itself does.

    Nearest modes leave it half-way to where the next rung would be. A power of two at the top begins a binade: the gap
    above it is that of its own binade, not the smaller one below. A mode that rounds away from zero on this side leaves
    it right above the last rung; the others, and stochastic rounding, only with an infinity: None (gfloat has it so).
    """
    values = format.grid.values if sign > 0 else tuple(-v for v in reversed(format.grid.values))
    if rounding == ("toward-positive" if sign > 0 else "toward-negative"):
        return values[-1], False
    if not rounding.startswith("nearest"):
        return None
    rung = len(values) - 1 - format.grid.origin if sign > 0 else format.grid.origin
    gap = values[-1] - values[-2]
    if format.mantissa_bits is not None:
        gap = max(gap, math.ldexp(1.0, math.frexp(values[-1])[1] - 1 - format.mantissa_bits))
    return values[-1] + gap / 2, rounding == "nearest-away" or rung % 2 == 1


def _with_specials(scaled: Tensor, wide: Tensor, rounded: Tensor, format: Format, rounding: str) -> Tensor:
    for sign in (1, -1):
        special = special_beyond(format, sign)
        has_this_sign = sign * (format.grid.highest if sign > 0 else format.grid.lowest) > 0
        if special is None or (math.isnan(special) and not has_this_sign):
            continue  # nothing to become; an unsigned format's negatives go to its lowest value
        leaving = overflow_threshold(format, sign, rounding) if has_this_sign else None
        if leaving is None:
            leaves = wide == sign * math.inf
        else:
            threshold, itself = leaving
            magnitude = scaled.double() * sign
            leaves = magnitude >= threshold if itself else magnitude > threshold
        rounded = rounded.masked_fill(leaves, special)
    return rounded

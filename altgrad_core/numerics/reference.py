"""Quantization as the definition has it, on any device: the judge of every fast path."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from altgrad_core.numerics.rounding import grid_tensor, round_to_index
from altgrad_core.numerics.tally import Tally

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.format import Format


def finite_amax(x: Tensor) -> Tensor:
    """The largest finite magnitude, float32 of shape (); 0 where there is none."""
    import torch

    if x.numel() == 0:
        return torch.zeros((), device=x.device)
    magnitude = x.detach().abs()
    return torch.where(magnitude.isfinite(), magnitude, torch.zeros_like(magnitude)).max().to(torch.float32)


def quantize(
    x: Tensor, format: Format, *, scale: Tensor, rounding: str, overflow: str, key: int | None
) -> tuple[Tensor, Tally]:
    """Round x / scale to the grid of `format`, times scale, with the counts; the shape and type of `x`."""
    import torch

    wide = x.detach() if x.dtype == torch.float64 else x.detach().to(torch.float32)
    scaled = wide / scale.to(wide.dtype)
    index = round_to_index(scaled, format.grid, rounding=rounding, key=key)
    rounded = grid_tensor(format.grid, x.device)[index].to(wide.dtype)
    if format.grid.negative_zero is not None:
        rounded = torch.where(rounded == 0, rounded.copysign(scaled), rounded)
    if overflow == "specials":
        rounded = _with_specials(wide if rounding == "stochastic" else scaled, rounded, format, rounding)
    result = torch.where(wide.isnan(), wide, rounded * scale.to(wide.dtype))
    tally = Tally(
        elements=x.numel(),
        amax=finite_amax(wide),
        overflow=((scaled > max(format.grid.highest, 0.0)) | (scaled < min(format.grid.lowest, 0.0))).sum(),
        underflow=((rounded == 0) & (wide != 0) & ~wide.isnan()).sum(),
        nan=wide.isnan().sum(),
        infinite=wide.isinf().sum(),
    )
    return result.to(x.dtype), tally


def special_beyond(format: Format, sign: int) -> float | None:
    """What lies beyond the largest value on one side where overflow is not saturated: infinity, NaN, or nothing."""
    if format.infinity_code(sign) is not None:
        return sign * math.inf
    return math.nan if format.nan_code is not None else None


def overflow_threshold(format: Format, sign: int) -> tuple[float, bool]:
    """The magnitude from which nearest rounding leaves the grid, and whether the threshold itself does (a tie).

    It lies half-way to where the next rung would be. A power of two at the top begins a binade: the gap above it is
    that of its own binade, not the smaller one below.
    """
    values = format.grid.values if sign > 0 else tuple(-v for v in reversed(format.grid.values))
    rung = len(values) - 1 - format.grid.origin if sign > 0 else format.grid.origin
    gap = values[-1] - values[-2]
    if format.mantissa_bits is not None:
        gap = max(gap, math.ldexp(1.0, math.frexp(values[-1])[1] - 1 - format.mantissa_bits))
    return values[-1] + gap / 2, rung % 2 == 1


def _with_specials(x: Tensor, rounded: Tensor, format: Format, rounding: str) -> Tensor:
    for sign in (1, -1):
        special = special_beyond(format, sign)
        has_this_sign = sign * (format.grid.highest if sign > 0 else format.grid.lowest) > 0
        if special is None or (math.isnan(special) and not has_this_sign):
            continue  # nothing to become; an unsigned format's negatives go to its lowest value
        magnitude = x.double() * sign
        if rounding == "stochastic" or not has_this_sign:
            leaves = magnitude == math.inf
        else:
            threshold, tie_leaves = overflow_threshold(format, sign)
            leaves = magnitude >= threshold if tie_leaves else magnitude > threshold
        rounded = rounded.masked_fill(leaves, special)
    return rounded

"""Every operation as its definition has it, on any device: the judge of every other backend. It calls none of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.backends.reference_walk import (
    adam_walk,
    movement,
    position,
    rung,
    spacing,
    stochastic_walk,
    update_velocity,
    value,
    walk,
)
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.memory import remembered
from altgrad_core.numerics.overflow import overflow_threshold, special_beyond
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import Key, operand_key
from altgrad_core.numerics.rounding import round_to_index, round_to_values
from altgrad_core.numerics.scale import scale_for
from altgrad_core.numerics.tally import Quantized, Tally
from altgrad_core.numerics.tiling import Tiling

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "adam_walk", "amax", "decode", "encode", "key", "movement", "position", "quantize", "rung", "scale", "spacing", "stochastic_walk",
    "supports", "update_velocity", "value", "walk",
]  # fmt: skip


def supports(case: Case) -> bool:
    """Whether this backend has a case: it has them all."""
    return True


def amax(x: Tensor, tiling: Tiling) -> Tensor:
    """See `ops.amax`."""
    import torch

    magnitude = x.detach().abs()
    magnitude = magnitude.where(magnitude.isfinite(), 0.0)
    if x.dtype == torch.float64:
        magnitude = magnitude.clamp(max=torch.finfo(torch.float32).max)
    return tiling.reduce(magnitude.to(torch.float32))


def scale(amax: Tensor, how: Quantizer) -> Tensor:
    """See `ops.scale_of`."""
    return scale_for(amax, how.target.largest, how.scale_rule)


def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: Key | None = None, out: Tensor | None = None
) -> Quantized:
    """See `ops.quantize`."""
    import torch

    format, wide = how.target, _wide(x)
    scale = _scale_of(x, how) if scale is None else scale
    if how.nonfinite == "block":
        scale = _without_lost(scale, x, how.tiling)
    divisor = how.tiling.spread(scale, tuple(x.shape))
    divisor = divisor.to(x.device, wide.dtype)  # a number of the CPU would be multiplied with
    scaled = wide / divisor
    rounded = _round(wide, scaled, how, key)
    values = torch.where(wide.isnan(), wide, rounded * divisor).to(x.dtype)
    tally = Tally(
        elements=x.numel(),
        amax=amax(wide, Tiling.of("tensor")),
        overflow=((scaled > max(format.grid.highest, 0.0)) | (scaled < min(format.grid.lowest, 0.0))).sum(),
        underflow=((rounded == 0) & (wide != 0) & ~scaled.isnan()).sum(),
        nan=wide.isnan().sum(),
        infinite=wide.isinf().sum(),
    )
    return Quantized(values if out is None else out.copy_(values), scale, tally)


def key(stream: tuple[str | int, ...], replica: int, step: Tensor, call: Tensor) -> Tensor:
    """The key of `random.operand_key`, int64 of shape (), for a step and a call that are; it waits for the device of both."""
    import torch

    number = operand_key(stream, int(step), call=int(call), replica=replica)
    return torch.full((), number, dtype=torch.int64, device=step.device)


def _scale_of(x: Tensor, how: Quantizer) -> Tensor:
    return scale(amax(x, how.tiling), how)


def _without_lost(scale: Tensor, x: Tensor, tiling: Tiling) -> Tensor:
    """The scales, NaN for the tiles that hold an infinity or NaN."""
    is_lost = tiling.reduce((~x.detach().isfinite()).to(scale.dtype))
    return scale.to(x.device).masked_fill(is_lost > 0, math.nan) if scale.ndim else scale.where(is_lost == 0, math.nan)


def _wide(x: Tensor) -> Tensor:
    """The values as the arithmetic takes them: float64 stays, all else is float32."""
    import torch

    return x.detach() if x.dtype == torch.float64 else x.detach().to(torch.float32)


def _round(wide: Tensor, scaled: Tensor, how: Quantizer, key: Key | None) -> Tensor:
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
    """The codes of x / scale into `out`, for a scale of shape (); returns the number of NaNs.

    Their codes mean nothing where the format has no NaN.
    """
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

    torch.mul(_value_table(format, codes.device)[codes.to(torch.int64)], scale, out=out)


@remembered
def _value_table(format: Format, device: object) -> Tensor:
    """The value of every code, float32 of shape (2 ** bits,)."""
    import torch

    return torch.tensor(format.table, dtype=torch.float32, device=device)  # type: ignore[arg-type]


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

"""Codes at the scales of a tensor's own amax, and back."""

from __future__ import annotations

from torch import Tensor

from altgrad_core.numerics.ops import decode, encode, quantize
from altgrad_core.numerics.quantizer import Quantizer


def encoded(x: Tensor, how: Quantizer, *, key: int | None = None) -> tuple[Tensor, Tensor]:
    """The codes of `x` and the scales they are at."""
    scale = quantize(x, how, key=key).scale
    return encode(x, how, scale=scale, key=key), scale


def decoded(codes: Tensor, scale: Tensor, how: Quantizer) -> Tensor:
    """The values of codes at the scales that came with them."""
    return decode(codes, how, scale=scale)

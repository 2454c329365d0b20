"""Scales and codes as operations of torch: `altgrad::amax`, `scale`, `encode` and `decode`; see `library`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altgrad_core.numerics import ops
from altgrad_core.numerics.library import each, quantizer
from altgrad_core.numerics.tiling import Tiling


@torch.library.custom_op("altgrad::amax", mutates_args=(), schema="(Tensor x, str granularity) -> Tensor")
def _amax(x: Tensor, granularity: str) -> Tensor:
    return ops.amax(x, Tiling.of(granularity))


@_amax.register_fake
def _(x: Tensor, granularity: str) -> Tensor:
    return x.new_empty(Tiling.of(granularity).shape(tuple(x.shape)), dtype=torch.float32)


@_amax.register_vmap
def _(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, int]:
    return each(torch.ops.altgrad.amax, info, in_dims, inputs), 0


@torch.library.custom_op("altgrad::scale", mutates_args=(), schema="(Tensor amax, str how) -> Tensor")
def _scale(amax: Tensor, how: str) -> Tensor:
    return ops.scale_of(amax, quantizer(how))


@_scale.register_fake
def _(amax: Tensor, how: str) -> Tensor:
    return torch.empty_like(amax, dtype=torch.float32)


@_scale.register_vmap
def _(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, int]:
    return each(torch.ops.altgrad.scale, info, in_dims, inputs), 0


@torch.library.custom_op(
    "altgrad::encode", mutates_args=(), schema="(Tensor x, str how, Tensor scale, SymInt? key) -> Tensor"
)
def _encode(x: Tensor, how: str, scale: Tensor, key: int | None) -> Tensor:
    return ops.encode(x, quantizer(how), scale=scale, key=key)


@_encode.register_fake
def _(x: Tensor, how: str, scale: Tensor, key: int | None) -> Tensor:
    return x.new_empty(x.shape, dtype=ops.code_type(quantizer(how).target))


@_encode.register_vmap
def _(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, int]:
    """The random bits of all members are the same."""
    return each(torch.ops.altgrad.encode, info, in_dims, inputs), 0


@torch.library.custom_op("altgrad::decode", mutates_args=(), schema="(Tensor codes, str how, Tensor scale) -> Tensor")
def _decode(codes: Tensor, how: str, scale: Tensor) -> Tensor:
    return ops.decode(codes, quantizer(how), scale=scale)


@_decode.register_fake
def _(codes: Tensor, how: str, scale: Tensor) -> Tensor:
    return codes.new_empty(codes.shape, dtype=torch.float32)


@_decode.register_vmap
def _(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, int]:
    return each(torch.ops.altgrad.decode, info, in_dims, inputs), 0

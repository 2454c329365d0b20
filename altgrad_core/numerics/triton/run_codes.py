"""From tensors and formats to launches of the kernels of codes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.overflow import special_beyond
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import GROUP
from altgrad_core.numerics.triton import codes as kernels
from altgrad_core.numerics.triton.facts import rounding_of
from altgrad_core.numerics.triton.launch import MOST, Counts, as_int32, cells_of, launch, on_device
from altgrad_core.numerics.triton.run import BLOCK, nothing, table_of


def encode(x: Tensor, how: Quantizer, *, scale: Tensor, key: int | None, out: Tensor) -> Counts:
    """The codes of x / scale into `out`; the counts have the number of NaNs only."""
    rounding, counts, size = rounding_of(how.target, how.rounding, how.overflow), Counts.on(x), x.numel()
    values, edges = table_of(how.target, rounding.mode, x.device) if rounding.is_table else (nothing(x.device),) * 2
    tensors = (cells_of(x), _flat(out), on_device(scale, x), counts.cells, values, edges, _codes(how.target, x.device))
    halves = (as_int32(key or 0), as_int32((key or 0) >> 32))
    launch(
        kernels.encode_pass, -(-size // GROUP), x, *tensors, size, *halves, warps=2, R=rounding, BIG=size > MOST
    )  # fmt: skip
    return counts


def decode(codes: Tensor, format: Format, *, scale: float, out: Tensor) -> None:
    """The values of `codes` times scale into `out`, float32 and contiguous."""
    size, flat = codes.numel(), _flat(codes.contiguous())
    table = _values(format, codes.device)
    programs = -(-size // BLOCK)
    launch(kernels.decode_pass, programs, codes, flat, table, out.view(-1), size, scale, BIG=size > MOST, BLOCK=BLOCK)


def _flat(codes: Tensor) -> Tensor:
    return codes.view(-1) if codes.dtype == torch.uint8 else codes.view(-1).view(torch.int16)


@lru_cache(maxsize=256)
def _codes(format: Format, device: torch.device) -> Tensor:
    """See `codes.encode_pass`."""
    specials = (special_beyond(format, sign) for sign in (1, -1))
    nan = format.nan_code or 0
    beyond = (
        nan if special is None or special != special else format.infinity_code(sign) or 0
        for sign, special in zip((1, -1), specials, strict=True)
    )  # fmt: skip
    every = [*format.grid.codes, format.grid.negative_zero or 0, *beyond, nan]
    return torch.tensor(every, dtype=torch.int32, device=device)


@lru_cache(maxsize=256)
def _values(format: Format, device: torch.device) -> Tensor:
    """The value of every code, float32."""
    return torch.tensor(format.table, dtype=torch.float32, device=device)

"""Starting kernels: on the device of their tensors, without contraction; and the zeros that they count in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from altgrad_core.numerics.memory import side_by_side
from altgrad_core.numerics.tally import Tally
from altgrad_core.numerics.triton.facts import COUNTS

PASSES = 1024  # of which one fill makes the zeros
MOST = 2**31 - 2**16  # elements up to which 32-bit integers tell places


def launch(kernel: Any, programs: int, x: Tensor, *arguments: Any, warps: int = 4, **constants: Any) -> None:
    """Start so many programs of a kernel on the device of `x`.

    A product and a sum stay two roundings: contracted to one, their bits would be others.
    """
    start(kernel, programs, x.device, arguments, {"num_warps": warps, "enable_fp_fusion": False, **constants})


def start(
    kernel: Any, programs: int, device: torch.device, arguments: tuple[Any, ...], constants: dict[str, Any]
) -> None:
    """Hand a kernel to Triton."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[(programs,)](*arguments, **constants)


class Counts(NamedTuple):
    """What one pass counts; see `facts.COUNTS`. Int64 of shape (8,)."""

    cells: Tensor

    @classmethod
    def on(cls, x: Tensor) -> Counts:
        """New zeros on the device of `x`; one fill for many passes, but while a graph is captured, which is replayed."""
        if x.device.type == "cpu" or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
            return cls(torch.zeros(COUNTS, dtype=torch.int64, device=x.device))
        return cls(next(_zeros(x.device, torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0)))

    def tally(self, elements: int) -> Tally:
        """The counts of a pass over so many elements; views, so that nothing is started."""
        amax = self.cells.view(torch.float32).select(0, 0)
        return Tally(elements, amax, *self.cells[1:5].unbind())


class _Zeros:
    """Zeros of one stream, made many at a time; each is handed out once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._left: Iterator[Tensor] = iter(())

    def __next__(self) -> Tensor:
        cells = next(self._left, None)
        if cells is None:
            cells = torch.zeros(PASSES, COUNTS, dtype=torch.int64, device=self._device)
            self._left = iter(cells.unbind())
            cells = next(self._left)
        return cells


@lru_cache(maxsize=64)
def _zeros(device: torch.device, stream: int) -> _Zeros:
    return _Zeros(device)


def cells_of(x: Tensor) -> Tensor:
    """A tensor flat, as the kernels take it: int32 bits of float32, int16 bits of bfloat16, or float16."""
    flat = side_by_side(x).view(-1)
    return flat if x.dtype == torch.float16 else flat.view(torch.int16 if x.dtype == torch.bfloat16 else torch.int32)


def on_device(scale: Tensor, x: Tensor) -> Tensor:
    """Scales as float32 beside `x`; a number of the CPU is filled in, without waiting."""
    if scale.device != x.device and scale.device.type == "cpu" and scale.ndim == 0:
        return torch.full((), float(scale), dtype=torch.float32, device=x.device)
    return scale.detach().to(x.device, torch.float32).contiguous()


def each_scale(scale: Tensor, x: Tensor) -> Tensor:
    """The one scale, of shape (1,), or that of every element of `x`."""
    scale = on_device(scale, x)
    return scale.reshape(1) if scale.numel() == 1 else scale.expand(x.shape).contiguous().view(-1)


def as_int32(word: int) -> int:
    """The lower 32 bits as a signed number: the kernel is then compiled for one type."""
    return ((word & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000

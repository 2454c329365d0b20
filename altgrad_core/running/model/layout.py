"""Rows of an operand: the elements that a product sums over, side by side, whatever the shape of the tensor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from altgrad_core.numerics.ops import quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.tally import Quantized


@dataclass(frozen=True)
class Layout:
    """Which dimensions of a tensor are contracted by its product.

    Attributes:
        contracted: of any tensor of the operand; counted from the end where negative. As rows they come last, as one.
    """

    contracted: tuple[int, ...] = (-1,)

    @cached_property
    def is_plain(self) -> bool:
        """Whether rows are the last dimension already."""
        return self.contracted == (-1,)

    def rows(self, x: Tensor) -> Tensor:
        """`x` with the contracted dimensions as its last one; `x` itself where they are, or where it has too few."""
        if self.is_plain or x.ndim < len(self.contracted):
            return x
        moved = self._moved(x)
        return moved.flatten(-len(self.contracted)) if len(self.contracted) > 1 else moved

    def back(self, rows: Tensor, x: Tensor) -> Tensor:
        """The inverse of `rows`, for a tensor of the shape of `x`."""
        if self.is_plain or x.ndim < len(self.contracted):
            return rows
        return torch.movedim(rows.reshape(self._moved(x).shape), self._last, self.contracted)

    def quantized(self, x: Tensor, how: Quantizer, scale: Tensor | None, key: int | None) -> Quantized:
        """`x` rounded, with rows and blocks along the dimensions that its product sums over."""
        x = x.detach()
        if self.is_plain or (how.tiling.whole and how.hadamard is None):
            return quantize(x, how, scale=scale, key=key)
        done = quantize(self.rows(x), how, scale=scale, key=key)
        return done._replace(values=self.back(done.values, x))

    def passes(self, x: Tensor, scale: Tensor, how: Quantizer) -> Tensor | None:
        """Where a gradient of `x` passes straight through; None: everywhere."""
        if how.straight_through == "identity":
            return None
        rows = self.rows(x.detach())
        bound = how.clip_bound(rows, scale)
        return None if bound is None else self.back(rows.abs() <= bound, x)

    @property
    def _last(self) -> tuple[int, ...]:
        return tuple(range(-len(self.contracted), 0))

    def _moved(self, x: Tensor) -> Tensor:
        return torch.movedim(x, self.contracted, self._last)


PLAIN = Layout()


def plain(x: Tensor, *, tensors: bool) -> Any:
    """A tensor as numbers; with `tensors`, one that has dimensions stays a tensor."""
    return x.detach().cpu().clone() if tensors and x.ndim else x.tolist()

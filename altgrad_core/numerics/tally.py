"""What one pass over a tensor gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Tally(NamedTuple):
    """By-products of quantizing one tensor.

    Attributes:
        elements: how many.
        amax: the largest finite magnitude before scaling, float32 of shape ().
        overflow: values beyond the ends of the grid after scaling: magnitudes above the largest finite value,
            infinities among them, and every negative value where the format is unsigned.
        underflow: non-zero values that were rounded to zero.
        nan: NaNs. infinite: infinities. Each count is a Python int or an int64 tensor of shape ().
    """

    elements: int
    amax: Tensor
    overflow: Tensor | int
    underflow: Tensor | int
    nan: Tensor | int
    infinite: Tensor | int

    def plus(self, other: Tally) -> Tally:
        """The counts of both passes together."""
        import torch

        counts = (mine + theirs for mine, theirs in zip(self[2:], other[2:], strict=True))
        return Tally(self.elements + other.elements, torch.maximum(self.amax, other.amax), *counts)

    def plain(self) -> list[float | int]:
        """The amax, then the counts, as numbers."""
        return [float(self.amax), *(int(count) for count in (self.elements, *self[2:]))]

    @classmethod
    def of_plain(cls, numbers: Sequence[float | int], device: torch.device) -> Tally:
        """What `plain` returned, with the amax on a device."""
        import torch

        amax, elements, overflow, underflow, nan, infinite = numbers
        counts = (int(count) for count in (overflow, underflow, nan, infinite))
        return cls(int(elements), torch.tensor(amax, dtype=torch.float32, device=device), *counts)


class Quantized(NamedTuple):
    """Quantized values, of the shape and type of the input; the scales they are at; the counts.

    The scales are float32 of shape (), or one for each block of each row. The identity format counts nothing.
    """

    values: Tensor
    scale: Tensor
    tally: Tally | None

    def with_infinities(self, x: Tensor) -> Quantized:
        """The same with the infinities of `x`, of which these are the values."""
        import torch

        has_none = self.tally is None or (isinstance(self.tally.infinite, int) and self.tally.infinite == 0)
        return self if has_none else self._replace(values=torch.where(x.isinf(), x, self.values))

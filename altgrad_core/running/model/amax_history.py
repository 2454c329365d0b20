"""The largest amaxes of the last steps of one operand, from which delayed scaling takes the next scale."""

from __future__ import annotations

import torch
from torch import Tensor

from altgrad_core.numerics.ops import scale_of
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.tracing import constant_when_traced


class AmaxHistory:
    """What one operand saw in earlier steps, and in this one.

    Attributes:
        entries: the largest amax of each of the last steps, the newest last; never changed in place.
        pending: the largest amax of this step so far, float32 of shape ().
        fetched: one such amax, and the number that it is.
    """

    def __init__(self) -> None:
        self.entries: list[float] = []
        self.pending: Tensor | None = None
        self.fetched: tuple[Tensor | None, float] = (None, 0.0)
        self._ahead: tuple[list[float], Quantizer | None, Tensor | None] = ([], None, None)

    def see(self, amax: Tensor) -> None:
        """Take in the amax of one pass."""
        self.pending = amax if self.pending is None else torch.maximum(self.pending, amax)

    def advance(self, length: int) -> None:
        """An optimizer step is over: its largest amax becomes one of at most `length` entries, unless it is 0: nothing was seen."""
        if self.pending is not None and self.fetched[1] > 0:
            self.entries = [*self.entries, self.fetched[1]][-length:]
        self.pending, self.fetched = None, (None, 0.0)

    def expect(self, how: Quantizer, scale: Tensor) -> None:
        """The scale that follows from the entries for a quantizer, made in advance together with others."""
        self._ahead = (self.entries, how, scale)

    def scale(self, how: Quantizer, device: torch.device) -> Tensor | None:
        """The scale that follows from the entries; None where there are none yet."""
        entries, known, scale = self._ahead
        if entries is self.entries and known is how and scale is not None:
            return scale
        return scale_of(self.most(device), how) if self.entries else None

    @constant_when_traced
    def most(self, device: torch.device) -> Tensor:
        """The largest entry, float32 of shape ()."""
        return on_device(max(self.entries), device)


def on_device(numbers: float | list[float], device: torch.device) -> Tensor:
    """Numbers as float32 on a device, which is not waited for; a copy on MPS must be."""
    return torch.tensor(numbers, dtype=torch.float32, device="cpu").to(device, non_blocking=device.type != "mps")

"""Numbers out of what rounding leaves behind; imports nothing but torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def plain(rows: Sequence[Iterable[Tensor | float]]) -> list[list[float]]:
    """Rows of equal length as plain numbers, in one transfer; exact for float32 and for counts below 2 ** 53."""
    tensors = [[number if isinstance(number, Tensor) else torch.tensor(number) for number in row] for row in rows]
    if not tensors:
        return []
    device = tensors[0][0].device
    return torch.stack([torch.stack([n.to(device, torch.float64) for n in row]) for row in tensors]).tolist()


def headroom(amax: float, *, scale: float, largest: float) -> float | None:
    """log2(scale * largest / amax): the binades between amax and the end of the grid; None where amax is 0."""
    return math.log2(scale * largest / amax) if amax else None

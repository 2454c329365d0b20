"""What rounding does to a tensor; imports nothing but torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_DECIBELS = 200.0


def finite(x: Tensor) -> Tensor:
    """The finite elements of `x`, float32 of shape (n,)."""
    values = x.detach().flatten().float()
    keep = values.isfinite()
    return values if bool(keep.all()) else values[keep]


def energies(x: Tensor, rounded: Tensor) -> Tensor:
    """How many elements of `x` are finite; of these the sums of x^2 and (x - rounded)^2: float64 of shape (3,)."""
    keep = x.isfinite()
    signal = x.double().where(keep, 0.0)
    noise = signal - rounded.double().where(keep, 0.0)
    return torch.stack([keep.sum().double(), signal.square().sum(), noise.square().sum()])


def decibels(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise), at most 200, also without any noise; None without signal."""
    if signal == 0:
        return None
    return MOST_DECIBELS if noise == 0 else min(MOST_DECIBELS, 10 * math.log10(signal / noise))


def rungs_used(rungs: Tensor) -> Tensor:
    """How many different numbers there are among `rungs`, integers of any sign; int64 of shape ()."""
    numbers = rungs.flatten().long()
    return (torch.bincount(numbers - numbers.min()) > 0).sum()

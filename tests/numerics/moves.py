"""What tests of moves share: formats, weights of all magnitudes, and moves from tiny to long."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.testing.strategies import TableFormat

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
TABLE = TableFormat((-1.0, 0.0, 0.5, 2.0, 3.0, -7.0, 3.5, math.nan), name="gaps")


def weights_of(format: Format, scale: float, count: int = 300) -> Tensor:
    """Of all magnitudes: near the top and beyond it, near zero, on rungs, and zero itself."""
    generator = torch.Generator().manual_seed(0)
    top = format.largest if format.largest < 1e38 else format.largest * 2.0**-6  # no weight beyond float32
    spread = torch.randn(count, generator=generator) * top * 0.4
    low = math.log2(format.smallest_positive) - 3
    logs = low + (math.log2(top) + 0.6 - low) * torch.rand(count, generator=generator)
    small = 2.0**logs * torch.randn(count, generator=generator).sign()
    rungs = torch.tensor(format.grid.values[:: 1 + len(format.grid) // 200])
    return torch.cat([spread, small, rungs, torch.zeros(1)]).mul(scale).float()


def directions(like: Tensor) -> Tensor:
    """From much less than a rung to several."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.tensor([1e-4, 0.03, 0.7, 6.0])[torch.randint(4, like.shape, generator=generator)]
    return torch.randn(like.shape, generator=generator) * sizes

"""From tensors and grids to launches of the kernels of rungs, positions, values and spacings, and of movement."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.memory import side_by_side
from altgrad_core.numerics.triton import places as kernels
from altgrad_core.numerics.triton.facts import line_of
from altgrad_core.numerics.triton.launch import MOST, Counts, cells_of, each_scale, launch

BLOCK = 1024
TYPES = {"rung": torch.int32, "position": torch.float64, "value": torch.float32, "spacing": torch.float32}


def places(what: Literal["rung", "position", "value", "spacing"], x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """The operation of `ops` with this name, of a tensor that is not empty."""
    out = torch.empty(x.shape, dtype=TYPES[what], device=x.device)
    flat = side_by_side(x).view(-1) if what == "value" else cells_of(x)
    scales, size = each_scale(scale, x), x.numel()
    launch(
        kernels.places_pass, -(-size // BLOCK), x, flat, out.view(-1), scales, size,
        WHAT=what, R=line_of(format), APIECE=scales.numel() > 1, BIG=size > MOST, BLOCK=BLOCK,
    )  # fmt: skip
    return out


def movement(before: Tensor, after: Tensor, gradient: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.movement`; of a weight that is not empty."""
    scales, size, counts = each_scale(scale, after), after.numel(), Counts.on(after)
    launch(
        kernels.movement_pass, -(-size // BLOCK), after, *map(cells_of, (before, after, gradient)), scales, counts.cells, size,
        R=line_of(format), APIECE=scales.numel() > 1, BIG=size > MOST, BLOCK=BLOCK,
    )  # fmt: skip
    return counts.cells[1:5]

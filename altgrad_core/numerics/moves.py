"""What a move of a weight along a grid needs to know, and what it reports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from altgrad_core.numerics.format import Format

if TYPE_CHECKING:
    from torch import Tensor

MOST_RUNGS = 2.0**29  # of a stochastic walk: whole numbers of float32 that do not wrap around as int32


class Path(NamedTuple):
    """Where a weight walks.

    Attributes:
        line: what positions are measured along.
        format: whose rungs are counted.
        scale: of both, float32, broadcasting to the shape of the weight.
    """

    line: Format
    format: Format
    scale: Tensor


class Step(NamedTuple):
    """How far a weight walks.

    Attributes:
        rungs: how many rungs a direction of 1 leads.
        bound: the most rungs, in either direction.
        keep: what decay leaves of the weight before it walks.
        momentum: the direction is a velocity, which first becomes `momentum` times itself plus the gradient.
    """

    rungs: float | Tensor
    bound: float = math.inf
    keep: float | Tensor = 1.0
    momentum: float | None = None


def left(decay: float | Tensor) -> float | Tensor:
    """What decay leaves of a weight; 1 or more leaves nothing."""
    return max(0.0, 1 - decay) if isinstance(decay, (int, float)) else (1 - decay).clamp(min=0.0)


class Moved(NamedTuple):
    """What a step did to the elements of one weight: numbers on the CPU, tensors of shape () elsewhere.

    Attributes:
        broken: gradients that were not finite; those elements stay as they are, and so does their state.
        updates: finite gradients that were not zero.
        flips: elements whose nearest rung changed, at the scale in force; None where no trail is kept.
        ended: elements that a whole rung would have led beyond the grid, and which stopped at its end.
    """

    broken: int | Tensor
    updates: int | Tensor
    flips: int | Tensor | None = None
    ended: int | Tensor = 0


def fits(gradient: Tensor, *tensors: Tensor | None) -> bool:
    """Whether kernels take a gradient of this type, and can update the others in place, none of which is empty."""
    import torch

    kinds = (torch.float32, torch.int32)
    return gradient.dtype == torch.float32 and all(
        x is None or (x.is_contiguous() and x.dtype in kinds and x.numel() > 0) for x in tensors
    )

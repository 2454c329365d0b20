"""Bringing weights to the rungs of their grid, to the nearest or stochastically."""

from __future__ import annotations

import torch
from torch import Tensor

from altgrad_core import Geometry, sharded_as


def nearest(grid: Geometry, w: Tensor) -> Tensor:
    """The value of the rung nearest to each weight, float32; on the grid that is the weight itself."""
    return grid.value(grid.rung(w))


def stochastic(grid: Geometry, w: Tensor, *, held: Tensor) -> Tensor:
    """The value of one of the two rungs around each weight, with chances that make `w` its mean; float32.

    Random numbers come from torch's default generator. Beyond the ends of the grid it saturates. Where `w` is still
    what was `held`, it is the nearest rung: a scale that is not a power of two moves positions off the whole numbers.
    """
    position = grid.position(w)
    below = position.floor()
    chances = torch.rand(w.shape, dtype=position.dtype, device=w.device)
    goes_up = sharded_as(chances, position) < position - below
    rung = torch.where(w == held, grid.rung(held), below + goes_up)
    return grid.value(rung.clamp(grid.lowest_rung, grid.highest_rung))


def put(parameter: Tensor, value: Tensor, *, where: Tensor) -> None:
    """Set the elements of a parameter for which `where` is true."""
    parameter.copy_(torch.where(where, value.to(parameter.dtype), parameter))


@torch.no_grad()
def settle(parameter: Tensor, grid: Geometry) -> Tensor:
    """Fix the scale of a parameter's grid, and bring it there, but leave NaN; what was rounded away."""
    before = parameter.clone()
    grid.fix_scale()
    put(parameter, nearest(grid, parameter), where=~parameter.isnan())
    return before.sub_(parameter)

"""The optimizer, a plain `torch.optim.Optimizer`: velocities become rungs, and weights move by them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from altgrad_core import Geometry, Moved, SplitOptimizer, stochastic_walk, update_velocity, walk


@dataclass(frozen=True)
class Variant:
    """How a velocity becomes rungs.

    Attributes:
        rung_clip: the most rungs in one step.
        normalize: `rms`: divide the velocity by its root mean square over the tensor.
        bit_position: keep in `state[p]["bit_position"]` by how many rungs each weight has gone in all (int32).
    """

    rung_clip: float = 10.0
    master: str = "fp32"
    normalize: str = "none"
    bit_position: bool = False


PLAIN = Variant()


class GridOptimizer(SplitOptimizer):
    """Momentum in rungs: v = momentum * v + g, r = clamp(lr * v, +-rung_clip).

    `master="fp32"`: the parameter is the master and walks exactly, w' = u^-1(u(w) - r); the forward pass rounds it.
    `master="none"`: the parameter stays on the grid, whose scale is fixed when the optimizer is made, with a binade of
    headroom, and moves by r rounded stochastically to a whole number of rungs; at the ends it stays, and
    `state[p]["ended"]` counts how often.

    A weight whose gradient is not finite stays as it is, and so does its velocity; `state[p]["broken"]` counts
    them. `moved` holds the counts of the last step.

    Args:
        params: parameters or groups; a group with `plain=True` holds parameters without a grid, which take AdamW.
        geometry: the live grid of every other parameter.
        weight_decay: w *= 1 - weight_decay * lr / initial_lr before the step, of a master; without one it is added to
            the move as a fraction of a rung, and rounded with it.
    """

    def __init__(
        self,
        params: Any,
        *,
        geometry: Mapping[Tensor, Geometry],
        variant: Variant = PLAIN,
        lr: float = 6.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> None:
        self.geometry, self.moved = dict(geometry), dict[Tensor, Moved]()
        self.variant = variant
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def begin(self, parameter: Tensor) -> None:
        """Fix the grid of a parameter without a master, and bring it there; NaN is not mended in silence."""
        if self.variant.master != "none":
            return
        grid = self.geometry[parameter]
        grid.fix_scale()
        settled = grid.value(grid.rung(parameter)).to(parameter.dtype)
        parameter.copy_(settled.where(~parameter.isnan(), parameter))

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """A walk, or without a master a stochastic walk, of each."""
        keys = self._keys(parameters) if self.variant.master == "none" else [0] * len(parameters)
        for parameter, key in zip(parameters, keys, strict=True):
            self._move(group, parameter, key)

    def _keys(self, parameters: list[Tensor]) -> list[Any]:
        """A stream of random numbers for each; keys stay on the device, where every replay of a CUDA graph draws others."""
        there = [parameter.device for parameter in parameters if not self.is_counted_on_host(parameter)]
        keys = torch.randint(2**62, (len(parameters),), device=there[0] if there else "cpu")
        if not there:
            return keys.tolist()
        return [key.to(parameter.device) for key, parameter in zip(keys.unbind(), parameters, strict=True)]

    def _begin(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["velocity"] = torch.zeros_like(parameter)
            for count in ("broken", "ended") if self.variant.master == "none" else ("broken",):
                state[count] = torch.zeros((), dtype=torch.int64, device=parameter.device)
            if self.variant.bit_position:
                state["bit_position"] = torch.zeros_like(parameter, dtype=torch.int32)
        return state

    def _move(self, group: dict[str, Any], parameter: Tensor, key: int | Tensor) -> None:
        state, geometry, gradient = self._begin(parameter), self.geometry[parameter], parameter.grad
        assert gradient is not None
        velocity, rate, rungs = state["velocity"], group["momentum"], group["lr"]
        if self.variant.normalize == "rms":
            norm = update_velocity(velocity, gradient, rate)
            rate, rungs = None, _per_norm(rungs * math.sqrt(velocity.numel()), norm)
        options = {
            "gradient": gradient,
            "rungs": rungs,
            "momentum": rate,
            "bound": self.variant.rung_clip,
            "decay": group["weight_decay"] * group["lr"] / group["initial_lr"],
            "trail": state.get("bit_position"),
        }
        if self.variant.master == "fp32":
            moved = walk(parameter, velocity, geometry, **options)
        else:
            moved = stochastic_walk(parameter, velocity, geometry, key=key, **options)
            self.add_count(state, "ended", moved.ended)
        self.add_count(state, "broken", moved.broken)
        self.moved[parameter] = moved


def _per_norm(rungs: float, norm: float | Tensor) -> float | Tensor:
    """`rungs` over the norm of a velocity, and 0 where that is 0."""
    if isinstance(norm, Tensor):
        return torch.where(norm == 0, 0.0, rungs / norm)
    return rungs / norm if norm else 0.0

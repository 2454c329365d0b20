"""The optimizer, a plain `torch.optim.Optimizer`: velocities become rungs, and weights move by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from altgrad_core import Geometry, adamw_step, begin_moments


class GridOptimizer(torch.optim.Optimizer):
    """Momentum in rungs: v = momentum * v + g, r = clamp(lr * v, +-rung_clip).

    `master="fp32"`: the parameter is the master and walks exactly, w' = u^-1(u(w) - r); the forward pass rounds it.
    `master="none"`: the parameter stays on the grid, whose scale is fixed when the optimizer is made, with a binade of
    headroom, and moves by r rounded stochastically to a whole number of rungs; at the ends it stays.

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
        lr: float = 6.0,
        momentum: float = 0.9,
        rung_clip: float = 10.0,
        master: str = "fp32",
        normalize: str = "none",
        weight_decay: float = 1e-4,
    ) -> None:
        self.geometry = dict(geometry)
        self.rung_clip, self.master, self.normalize = rung_clip, master, normalize
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "plain": False,
            "betas": (0.9, 0.999),
            "eps": 1e-8,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            group.setdefault("initial_lr", group["lr"])
            if master == "none" and not group["plain"]:
                for parameter in group["params"]:
                    self._settle(parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if group["plain"]:
                for parameter in trained:
                    begin_moments(self.state[parameter], parameter)
                adamw_step(group, trained, [p.grad for p in trained], [self.state[p] for p in trained])
            else:
                for parameter in trained:
                    self._move(group, parameter)
        return loss

    @torch.no_grad()
    def _settle(self, parameter: Tensor) -> None:
        """Fix the grid of a parameter without a master, and bring it there."""
        grid = self.geometry[parameter]
        grid.fix_scale()
        _put(parameter, grid.value(grid.rung(parameter)))

    def _move(self, group: dict[str, Any], parameter: Tensor) -> None:
        grid, rungs = self.geometry[parameter], self._rungs(group, parameter)
        decay = group["weight_decay"] * group["lr"] / group["initial_lr"]
        if self.master == "fp32":
            parameter.mul_(1 - decay)
            walked = grid.value(grid.position(parameter) - rungs)
            _put(parameter, torch.where(rungs == 0, parameter, walked))
            return
        at = grid.rung(parameter)
        if decay:
            rungs = rungs + (at - grid.position(parameter * (1 - decay)))
        whole = torch.floor(rungs + torch.rand(rungs.shape, dtype=rungs.dtype, device=rungs.device))
        _put(parameter, grid.value((at - whole).clamp(grid.lowest_rung, grid.highest_rung)))

    def _rungs(self, group: dict[str, Any], parameter: Tensor) -> Tensor:
        """The clipped move of one parameter in rungs, float64; its velocity is updated."""
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity = state["velocity"].mul_(group["momentum"]).add_(parameter.grad)
        if self.normalize == "rms":
            size = velocity.square().mean().sqrt()
            velocity = torch.where(size == 0, 0.0, velocity / size)  # NaN stays NaN
        return (group["lr"] * velocity.double()).clamp(-self.rung_clip, self.rung_clip)


def _put(parameter: Tensor, value: Tensor) -> None:
    """Set a parameter, but leave NaN as it is: a broken weight is not mended in silence."""
    parameter.copy_(torch.where(parameter.isnan(), parameter, value.to(parameter.dtype)))

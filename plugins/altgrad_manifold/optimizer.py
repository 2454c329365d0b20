"""The optimizer, a plain `torch.optim.Optimizer`: it asks of a grid only spacing, position and value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from altgrad_core import Geometry, adam_direction, adamw_step, begin_moments


class ManifoldAdamW(torch.optim.Optimizer):
    """AdamW with weights walking along their grids.

    With `precondition="rungs"`, w' = u^-1(u(w) - lr * d): u is the rung position of the weight, d Adam's direction
    m / (sqrt(v) + eps) with bias correction, in real units. Groups marked `plain`, and all groups for `off`, take
    torch's own AdamW step.

    Args:
        params: parameters or groups; a group with `plain=True` holds parameters without a grid.
        geometry: the live grid of every other parameter.
        weight_decay: with `rungs`, w *= 1 - weight_decay * lr / initial_lr before the walk; else as torch does it.
    """

    def __init__(
        self,
        params: Any,
        *,
        geometry: Mapping[Tensor, Geometry],
        lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-4,
        precondition: str = "rungs",
        walk: str = "exact",
        lr_unit: str = "binades",
    ) -> None:
        self.geometry = dict(geometry)
        self.precondition, self.walk, self.lr_unit = precondition, walk, lr_unit
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "plain": False})
        for group in self.param_groups:
            group.setdefault("initial_lr", group["lr"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            for parameter in trained:
                begin_moments(self.state[parameter], parameter)
            if group["plain"] or self.precondition != "rungs":
                gradients = [self._gradient(p, group["plain"]) for p in trained]
                adamw_step(group, trained, gradients, [self.state[p] for p in trained])
            else:
                for parameter in trained:
                    self._walk(group, parameter)
        return loss

    def _gradient(self, parameter: Tensor, plain: bool) -> Tensor:
        assert parameter.grad is not None
        if plain or self.precondition == "off":
            return parameter.grad
        return parameter.grad * self.geometry[parameter].spacing(parameter)

    def _walk(self, group: dict[str, Any], parameter: Tensor) -> None:
        assert parameter.grad is not None
        geometry = self.geometry[parameter]
        direction = adam_direction(parameter.grad, self.state[parameter], betas=group["betas"], eps=group["eps"])
        per_binade = geometry.rungs_per_binade if self.lr_unit == "binades" else None
        rungs = group["lr"] * (per_binade or 1) * direction.double()
        parameter.mul_(1 - group["weight_decay"] * group["lr"] / group["initial_lr"])
        if self.walk == "linear":
            parameter.sub_((rungs * geometry.spacing(parameter)).to(parameter.dtype))
        else:
            walked = geometry.value(geometry.position(parameter) - rungs).to(parameter.dtype)
            parameter.copy_(torch.where(rungs == 0, parameter, walked))

"""The optimizer, a plain `torch.optim.Optimizer`: it asks of a grid only spacing, and walks along it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from altgrad_core import Geometry, Moved, adam_direction, adam_walk, adamw_step, begin_moments, keep_types


class ManifoldAdamW(torch.optim.Optimizer):
    """AdamW with weights walking along their grids.

    With `precondition="rungs"`, w' = u^-1(u(w) - lr * d): u is the rung position of the weight, d Adam's direction
    m / (sqrt(v) + eps) with bias correction. Groups marked `plain`, and all groups for `off`, take torch's own AdamW
    step. A weight whose gradient is no finite number stays as it is, and so do its moments; `state[p]["broken"]` counts
    them (not in torch's own step, which follows torch). `moved` holds the counts of the last step.

    Args:
        params: parameters or groups; a group with `plain=True` holds parameters without a grid.
        geometry: the live grid of every other parameter.
        weight_decay: with `rungs`, w *= 1 - weight_decay * lr / initial_lr before the walk; else as torch does it.
        moments: `real`: of the gradient. `carried`: of the gradient times the local spacing, that by rungs.
        floor: binades below the top of the grid, under which the spacing stays what it is there; None: the format's own.
        bit_position: keep in `state[p]["bit_position"]` by how many rungs each weight has gone in all (int32).
        fused: of torch's AdamW step, as its own option.
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
        moments: str = "real",
        lr_unit: str = "binades",
        floor: int | None = None,
        bit_position: bool = False,
        fused: bool | None = None,
    ) -> None:
        self.geometry = {p: grid if floor is None else grid.floored(floor) for p, grid in geometry.items()}
        self.precondition, self.walk, self.moments, self.lr_unit = precondition, walk, moments, lr_unit
        self.bit_position, self.fused = bit_position, fused
        self.moved: dict[Tensor, Moved] = {}
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
            in_rungs = self.precondition == "rungs" and not group["plain"]
            for parameter in trained:
                self._begin(parameter, in_rungs)
            if in_rungs:
                for parameter in trained:
                    self._walk(group, parameter)
            else:
                is_real = group["plain"] or self.precondition == "off"
                gradients = [p.grad if is_real else self._by_rungs(p) for p in trained]
                adamw_step(group, trained, gradients, [self.state[p] for p in trained], fused=self.fused)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch, but whole numbers stay whole numbers."""
        super().load_state_dict(state_dict)
        keep_types(self, state_dict)

    def _begin(self, parameter: Tensor, in_rungs: bool) -> None:
        state = self.state[parameter]
        if state:
            return
        begin_moments(state, parameter, fused=self.fused and not in_rungs)
        if in_rungs:
            state["broken"] = torch.zeros((), dtype=torch.int64, device=parameter.device)
            if self.bit_position:
                state["bit_position"] = torch.zeros_like(parameter, dtype=torch.int32)

    def _by_rungs(self, parameter: Tensor) -> Tensor:
        """The gradient with respect to the rung position: dL/du = dL/dw S(w)."""
        assert parameter.grad is not None
        return parameter.grad * self.geometry[parameter].spacing(parameter)

    def _walk(self, group: dict[str, Any], parameter: Tensor) -> None:
        geometry, state = self.geometry[parameter], self.state[parameter]
        gradient = self._by_rungs(parameter) if self.moments == "carried" else parameter.grad
        assert gradient is not None
        per_binade = geometry.rungs_per_binade if self.lr_unit == "binades" else None
        rungs = group["lr"] * (per_binade or 1)
        decay = group["weight_decay"] * group["lr"] / group["initial_lr"]
        numbers = {"betas": group["betas"], "eps": group["eps"]}
        if self.walk == "exact":
            moved = adam_walk(parameter, gradient, state, geometry, rungs=rungs, decay=decay, **numbers)
        else:
            direction = adam_direction(gradient, state, **numbers)
            moved = _step_by_spacing(parameter, rungs * direction, geometry, gradient, decay, state.get("bit_position"))
        state["broken"] += moved.broken
        self.moved[parameter] = moved


def _step_by_spacing(
    weight: Tensor, rungs: Tensor, geometry: Geometry, gradient: Tensor, decay: float, trail: Tensor | None
) -> Moved:
    """w <- (1 - decay) w - r S((1 - decay) w): the tangent of the walk."""
    whole = gradient.isfinite()
    kept = weight * (1 - decay)
    new = (kept - rungs * geometry.spacing(kept)).where(whole, weight)
    flips = None
    if trail is not None:
        went = geometry.rung(new) - geometry.rung(weight)
        trail += went
        flips = (went != 0).sum()
    weight.copy_(new)
    return Moved((~whole).sum(), (whole & (gradient != 0)).sum(), flips)

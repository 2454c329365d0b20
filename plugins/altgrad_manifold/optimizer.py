"""The optimizer, a plain `torch.optim.Optimizer`: of a grid it uses only the spacing, and walks along it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from altgrad_core import Geometry, Moved, SplitOptimizer, adam_direction, adam_walk, begin_moments
from altgrad_manifold.spacings import spacing_by


@dataclass(frozen=True)
class Variant:
    """Which of the variants of ManifoldAdamW steps; the defaults are the method itself, all else are its controls.

    Attributes:
        moments: `real`: of the gradient. `carried`: of the gradient times the local spacing, that by rungs.
        spacing: `own`: the step follows `walk`. Else w -= lr * S * d, with the spacings S of a control; see `spacing_by`.
        floor: binades below the top of the grid, under which the spacing stays what it is there; None: the format's own.
        bit_position: keep in `state[p]["bit_position"]` by how many rungs each weight has gone in all (int32).
    """

    precondition: str = "rungs"
    walk: str = "exact"
    moments: str = "real"
    spacing: str = "own"
    lr_unit: str = "binades"
    floor: int | None = None
    bit_position: bool = False


PLAIN = Variant()


class ManifoldAdamW(SplitOptimizer):
    """AdamW with weights walking along their grids.

    With `precondition="rungs"`, w' = u^-1(u(w) - lr * d): u is the rung position of the weight, d Adam's direction
    m / (sqrt(v) + eps) with bias correction. Groups marked `plain`, and all groups for `off`, take torch's own AdamW
    step. A weight whose gradient is not finite stays as it is, and so do its moments; `state[p]["broken"]` counts
    them (not in torch's own step, which follows torch). `moved` holds the counts of the last step.

    Args:
        params: parameters or groups; a group with `plain=True` holds parameters without a grid.
        geometry: the line of every other parameter, by default its live grid.
        weight_decay: with `rungs`, w *= 1 - weight_decay * lr / initial_lr before the walk; else as torch does it.
        fused: of torch's AdamW step, as its own option.
    """

    def __init__(
        self,
        params: Any,
        *,
        geometry: Mapping[Tensor, Geometry],
        variant: Variant = PLAIN,
        lr: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-4,
        fused: bool | None = None,
    ) -> None:
        floor, self.variant = variant.floor, variant
        self.geometry = {p: grid if floor is None else grid.floored(floor) for p, grid in geometry.items()}
        self.moved: dict[Tensor, Moved] = {}
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, fused=fused)

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """The walk, or for the controls AdamW."""
        if self.variant.precondition == "rungs":
            for parameter in parameters:
                self._walk(group, parameter)
        else:
            scaled = self.variant.precondition == "gradient"
            gradients = [self._by_rungs(p) if scaled else _gradient(p) for p in parameters]
            self.adamw(group, parameters, gradients)

    def _begin(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            begin_moments(state, parameter)
            state["broken"] = torch.zeros((), dtype=torch.int64, device=parameter.device)
            if self.variant.bit_position:
                state["bit_position"] = torch.zeros_like(parameter, dtype=torch.int32)
        return state

    def _by_rungs(self, parameter: Tensor) -> Tensor:
        """The gradient with respect to the rung position: dL/du = dL/dw S(w)."""
        return _gradient(parameter) * self.geometry[parameter].spacing(parameter)

    def _walk(self, group: dict[str, Any], parameter: Tensor) -> None:
        geometry, state = self.geometry[parameter], self._begin(parameter)
        gradient = self._by_rungs(parameter) if self.variant.moments == "carried" else _gradient(parameter)
        per_binade = geometry.rungs_per_binade if self.variant.lr_unit == "binades" else None
        rungs = group["lr"] * (per_binade or 1)
        decay = group["weight_decay"] * group["lr"] / group["initial_lr"]
        betas, eps = group["betas"], group["eps"]
        if self.variant.walk == "exact" and self.variant.spacing == "own":
            moved = adam_walk(parameter, gradient, state, geometry, rungs=rungs, betas=betas, eps=eps, decay=decay)
        else:
            direction = adam_direction(gradient, state, betas=betas, eps=eps)
            kept = parameter * (1 - decay)
            new = kept - rungs * direction * spacing_by(self.variant.spacing, geometry, kept, state)
            moved = _put(new, parameter, geometry, gradient=gradient, trail=state.get("bit_position"))
        self.add_count(state, "broken", moved.broken)
        self.moved[parameter] = moved


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _put(new: Tensor, weight: Tensor, geometry: Geometry, *, gradient: Tensor, trail: Tensor | None) -> Moved:
    """Set a weight, where its gradient is a finite number; what that did."""
    whole = gradient.isfinite()
    new = new.where(whole, weight)
    flips = None
    if trail is not None:
        went = geometry.rung(new) - geometry.rung(weight)
        trail += went
        flips = (went != 0).sum()
    weight.copy_(new)
    return Moved((~whole).sum(), (whole & (gradient != 0)).sum(), flips)

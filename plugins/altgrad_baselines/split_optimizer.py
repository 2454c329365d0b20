"""The loop that the optimizers of this package share: their own step for some groups, AdamW for the plain ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from altgrad_core import adam_direction, adamw_step, begin_moments, keep_types

ADAMW = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
"""What plain groups take where they do not say otherwise."""


class SplitOptimizer(torch.optim.Optimizer, ABC):
    """An optimizer whose groups marked `plain` take torch's AdamW.

    In the other groups a weight whose gradient is no finite number stays as it is, and so does its state;
    `state[p]["broken"]` counts them. Torch's own step follows torch.

    Args:
        params: parameters or groups.
        defaults: `lr`, and the settings of both kinds of groups.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(params, {**ADAMW, **defaults, "plain": False})

    @abstractmethod
    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of the parameters of one group, all of which have gradients."""

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
                self.move(group, trained)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch, but every tensor keeps its type."""
        super().load_state_dict(state_dict)
        keep_types(self, state_dict)

    def decayed_direction(self, group: dict[str, Any], parameter: Tensor) -> Tensor:
        """AdamDirection(g) + weight_decay * w after taking in one gradient; 0 where that is no finite number."""
        state = self.state[parameter]
        assert parameter.grad is not None
        begin_moments(state, parameter)
        direction = adam_direction(parameter.grad, state, betas=group["betas"], eps=group["eps"])
        return direction.add_(parameter, alpha=group["weight_decay"]).where(finite(parameter.grad, state), 0.0)


def finite(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """Where a gradient is a finite number; the others are counted in `state["broken"]`."""
    whole = gradient.isfinite()
    state["broken"] = state.get("broken", 0) + (~whole).sum()
    return whole

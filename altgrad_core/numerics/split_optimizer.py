"""The loop that optimizers built around grids share: a step of their own for some groups, AdamW for the plain ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from altgrad_core.numerics.adamw import adamw_step, begin_moments
from altgrad_core.numerics.sharded import gathered

ADAMW = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
"""What plain groups take where they do not say otherwise."""


class SplitOptimizer(torch.optim.Optimizer, ABC):
    """An optimizer whose groups marked `plain` take torch's AdamW; a subclass writes `move` for the others.

    Args:
        params: parameters or groups, as `OptimizerSpec.split` makes them.
        defaults: `lr`, and the settings of both kinds of groups.
        fused: torch's fused step for the plain groups.
    """

    def __init__(self, params: Any, defaults: dict[str, Any], *, fused: bool | None = None) -> None:
        self.fused = fused
        super().__init__(params, {**ADAMW, **defaults, "plain": False})
        for group in self.param_groups:
            group.setdefault("initial_lr", group["lr"])

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
                self.adamw(group, trained, [p.grad for p in trained])
            else:
                self.move(group, trained)
        return loss

    def adamw(self, group: dict[str, Any], parameters: list[Tensor], gradients: Sequence[Tensor]) -> None:
        """torch's AdamW step of some parameters."""
        for parameter in parameters:
            begin_moments(self.state[parameter], parameter, fused=self.fused)
        adamw_step(group, parameters, gradients, [self.state[p] for p in parameters], fused=self.fused)

    @staticmethod
    def add_count(state: dict[str, Any], name: str, count: int | Tensor) -> None:
        """Add to a count of the state, a tensor; where nothing was counted, on a CPU, this takes no time."""
        if not isinstance(count, int) or count:
            state[name] += count if isinstance(count, int) else gathered(count)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch, but every tensor keeps its type."""
        super().load_state_dict(state_dict)
        keep_types(self, state_dict)


def keep_types(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give state that was just loaded the types it was saved in, exactly: torch casts it to that of its parameter.

    Args:
        saved: the `state_dict` that was loaded.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, state in saved["state"].items():
        if not isinstance(index, int):
            continue  # of no parameter; torch restores it as it is
        own = optimizer.state[parameters[index]]
        for name, value in state.items():
            if isinstance(value, Tensor) and isinstance(own.get(name), Tensor) and own[name].dtype != value.dtype:
                own[name] = value.to(own[name].device, copy=True)

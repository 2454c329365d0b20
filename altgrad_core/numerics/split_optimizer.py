"""The loop that optimizers built around grids share: a step of their own for some groups, AdamW for the plain ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from altgrad_core.numerics.adamw import adamw_step, begin_moments, bias_corrections, is_counted_on_host, step_device
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.lean_optimizer import LeanOptimizer
from altgrad_core.numerics.sharded import gathered
from altgrad_core.numerics.tracing import not_traced

ADAMW = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
"""What plain groups take where they do not say otherwise."""


class SplitOptimizer(LeanOptimizer, ABC):
    """An optimizer whose groups marked `plain` take torch's AdamW; a subclass writes `move` for the others.

    On CUDA, steps are counted beside the parameters and a rate may be a tensor there, so that nothing waits for the device
    and a CUDA graph can capture a step. Under `torch.compile` a step is no part of a graph, so its bits stay the same.

    Attributes:
        geometry: the grids that `move` needs, which a subclass sets before it calls this constructor, if it needs any.

    Args:
        params: parameters or groups, as `OptimizerSpec.split` makes them.
        defaults: `lr`, and the settings of both kinds of groups.
        fused: torch's fused step for the plain groups. None: where steps are counted on the device.
    """

    geometry: Mapping[Tensor, Geometry]

    def __init__(self, params: Any, defaults: dict[str, Any], *, fused: bool | None = None) -> None:
        self.fused = fused
        super().__init__(params, {**ADAMW, **defaults, "plain": False})

    @abstractmethod
    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of the parameters of one group, all of which have gradients."""

    def begin(self, parameter: Tensor) -> None:
        """Prepare a parameter of a group that is not `plain`; called once, when its group is added."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch. A group of parameters without a grid is `plain`, with the settings of the first plain group.

        Raises:
            ValueError: some of its parameters have a grid and others do not, or there is no plain group and no `lr`.
        """
        keys = set(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if hasattr(self, "geometry") and not group["plain"] and "plain" not in keys:
            try:
                self._mark(group, keys)
            except ValueError:
                self.param_groups.pop()
                raise
        group.setdefault("initial_lr", group["lr"])
        for parameter in () if group["plain"] else group["params"]:
            self.begin(parameter)

    def _mark(self, group: dict[str, Any], keys: set[str]) -> None:
        """Make a group plain if none of its parameters has a grid."""
        missing = sum(parameter not in self.geometry for parameter in group["params"])
        if not missing:
            return
        if missing < len(group["params"]):
            raise ValueError(
                f"add_param_group: {missing} of {len(group['params'])} parameters have no grid; put these into a group of "
                "their own"
            )
        like = next((other for other in self.param_groups if other["plain"]), None)
        if like is None and "lr" not in keys:
            raise ValueError(
                "add_param_group: these parameters have no grid and take AdamW, whose rate is not known here; give the "
                "group an lr"
            )
        rates = {"lr", "initial_lr"} if "lr" in keys else set()
        group.update({key: value for key, value in (like or {}).items() if key not in keys | rates | {"params"}})
        group["plain"] = True

    @torch.no_grad()
    @not_traced
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
        fused = self.fused
        for parameter in parameters:
            begin_moments(self.state[parameter], parameter, fused=self.fused)
            can_fuse = parameter.is_floating_point() and not is_counted_on_host(parameter)
            fused = True if self.fused is None and can_fuse else fused
        adamw_step(group, parameters, gradients, [self.state[p] for p in parameters], fused=fused)

    @staticmethod
    def is_counted_on_host(parameter: Tensor) -> bool:
        """Whether what changes from step to step is a number of the host: on CPUs and MPS. Elsewhere it is a tensor beside the parameter."""
        return is_counted_on_host(parameter)

    @staticmethod
    def count_step(state: dict[str, Any], parameter: Tensor, beta: float) -> float | Tensor:
        """Count a step of a parameter in its state, which has or begins with `step`; the bias correction 1 - beta ** step."""
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=step_device(parameter))
        state["step"] += 1
        correction: float | Tensor = bias_corrections(state["step"], beta)[0]
        return correction

    @staticmethod
    def add_count(state: dict[str, Any], name: str, count: int | Tensor) -> None:
        """Add to a count of the state, a tensor; where nothing was counted, on a CPU, this takes no time."""
        if not isinstance(count, int) or count:
            state[name] += count if isinstance(count, int) else gathered(count)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch, but every tensor keeps its type, and steps are counted where this optimizer counts them."""
        super().load_state_dict(state_dict)
        keep_types(self, state_dict)
        for parameter, state in self.state.items():
            if "step" in state:
                place = step_device(parameter, fused=self.fused)
                state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=place)


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

"""torch's AdamW and SGD, whose steps do not import torch's compiler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from altgrad_core import LeanOptimizer

SMALL = 1 << 16
"""Elements of a parameter up to which the calls cost more than the work."""

_adamw_step: Callable[..., Any] = inspect.unwrap(torch.optim.AdamW.step)
_sgd_step: Callable[..., Any] = inspect.unwrap(torch.optim.SGD.step)


class AdamW(LeanOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW`, never differentiable."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As torch, to the same bits; groups of small parameters on the CPU take theirs all at once."""
        small = [group for group in self.param_groups if _is_better_together(group)]
        for group in small:
            group["foreach"] = True
        try:
            return _adamw_step(self, closure)
        finally:
            for group in small:
                group["foreach"] = None


def _is_better_together(group: dict[str, Any]) -> bool:
    """Whether torch's loop over the parameters of a group would cost more than a copy of all of them."""
    is_free = group["foreach"] is None and group["fused"] is None and not isinstance(group["lr"], Tensor)
    return is_free and not torch.compiler.is_compiling() and all(map(_is_small, group["params"]))


def _is_small(parameter: Tensor) -> bool:
    return type(parameter) in (Tensor, Parameter) and parameter.device.type == "cpu" and parameter.numel() <= SMALL


class SGD(LeanOptimizer, torch.optim.SGD):
    """`torch.optim.SGD`, never differentiable."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As torch."""
        return _sgd_step(self, closure)

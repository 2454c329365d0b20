"""torch's AdamW and SGD, whose steps do not import torch's compiler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from altgrad_core import LeanOptimizer

_adamw_step: Callable[..., Any] = inspect.unwrap(torch.optim.AdamW.step)
_sgd_step: Callable[..., Any] = inspect.unwrap(torch.optim.SGD.step)


class AdamW(LeanOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW`, never differentiable."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As torch."""
        return _adamw_step(self, closure)


class SGD(LeanOptimizer, torch.optim.SGD):
    """`torch.optim.SGD`, never differentiable."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As torch."""
        return _sgd_step(self, closure)

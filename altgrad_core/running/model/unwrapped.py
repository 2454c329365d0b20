"""Models and optimizers out of the wrappers that torch and training libraries put around them."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from altgrad_core.errors import ManifestError


def plain_model(model: nn.Module) -> nn.Module:
    """The model out of `torch.compile` and data parallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)  # of torch.compile
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def plain_optimizer(optimizer: Any) -> Optimizer:
    """The optimizer that takes the steps: wrappers have it as `optimizer`.

    Raises:
        ManifestError: this is no optimizer.
    """
    found = optimizer
    while isinstance(inner := getattr(found, "optimizer", None), Optimizer):
        found = inner
    if not isinstance(found, Optimizer):
        raise ManifestError(f"expected a torch.optim.Optimizer, got {type(optimizer).__name__}")
    return found

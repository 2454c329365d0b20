"""Models and optimizers out of the wrappers that torch and training libraries put around them."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn
from torch.optim import Optimizer

from altgrad_core.errors import ManifestError
from altgrad_core.running.model.moment import STEP_MOMENT, Moment


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
    result = optimizer
    while isinstance(inner := getattr(result, "optimizer", None), Optimizer):
        result = inner
    if not isinstance(result, Optimizer):
        raise ManifestError(f"expected a torch.optim.Optimizer, got {type(optimizer).__name__}")
    return result


def optimizer_of(moment: Moment, optimizer: Any) -> Optimizer:
    """The optimizer that takes the steps of a plan.

    Raises:
        ManifestError: this is no optimizer, or one that was built for another plan.
    """
    result = plain_optimizer(optimizer)
    if getattr(result, STEP_MOMENT, moment) is not moment:
        raise ManifestError(
            "attach: the optimizer was built for another plan, whose grids and seeds it follows; build it again: "
            "build_optimizer(name, plan.params())"
        )
    return result


def warn_of_stranger(optimizer: Optimizer, model: nn.Module) -> None:
    """Warn, if an optimizer trains no parameter of a model."""
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in trained for p in model.parameters()):
        warnings.warn(
            f"attach: this {type(optimizer).__name__} holds no parameter of the model; if it does not train copies of them, "
            "build it from model.parameters()",
            stacklevel=3,
        )

"""Parameter groups by how their rate goes with the width of a model, and these rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.contracts.width import WidthScaling
from altgrad_core.errors import ManifestError
from altgrad_core.running.model.param import Param


def parameter_groups(params: Sequence[Param]) -> list[dict[str, Any]]:
    """Those an optimizer is built for: matrices, hidden ones and ones on a grid apart where rates go with a width, and vectors.

    Vectors get no weight decay.
    """
    trained = [param for param in params if param.tensor.requires_grad]
    matrices: dict[object, list[Tensor]] = {}
    for param in trained:
        if param.tensor.dim() >= 2:
            kind = None if param.width is None else (param.width, param.geometry is not None)
            matrices.setdefault(kind, []).append(param.tensor)
    groups: list[dict[str, Any]] = [{"params": group} for group in matrices.values()]
    vectors = [param.tensor for param in trained if param.tensor.dim() < 2]
    return [*groups, {"params": vectors, "weight_decay": 0.0}] if vectors else groups


def scale_rates(optimizer: Optimizer, spec: OptimizerSpec, params: Iterable[Param]) -> None:
    """Multiply the rate of every group whose model says how it goes with the width.

    Raises:
        ManifestError: the optimizer does not know, or joined parameters whose rates differ.
    """
    factors: dict[Tensor, float] = {param.tensor: _factor(spec, param) for param in params if param.width is not None}
    for group in optimizer.param_groups if factors else ():
        factor = _of_a_group(factors, group["params"], spec)
        group["lr"], group["initial_lr"] = group["lr"] * factor, group["initial_lr"] * factor


def _factor(spec: OptimizerSpec, param: Param) -> float:
    width: WidthScaling | None = param.width
    assert width is not None
    kind = {"is_matrix": param.tensor.dim() >= 2, "on_grid": param.geometry is not None}
    power = spec.width_power(is_hidden=width.is_hidden, **kind)
    if power is None:
        raise ManifestError(
            f"{spec.name} does not say how its rate depends on the width of a model, which {param.path} needs "
            f"({width.ratio:g} times its base width); choose another optimizer, or leave the base width out"
        )
    return float(width.ratio**power)


def _of_a_group(factors: Mapping[Tensor, float], group: Sequence[Tensor], spec: OptimizerSpec) -> float:
    result = {factors.get(parameter, 1.0) for parameter in group}
    if len(result) != 1:
        raise ManifestError(f"{spec.name} trains in one group what needs rates times {sorted(result)}; it joins groups")
    return result.pop()

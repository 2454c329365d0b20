"""Whether an optimizer can train parameters that are sharded over processes: tried on a copy, before the first step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.errors import PluginError
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.sharded import is_sharded
from altgrad_core.running.assembly.imported_optimizer import ImportedOptimizer
from altgrad_core.running.model.param import Param


def refuse_unshardable(spec: OptimizerSpec, params: Sequence[Param]) -> None:
    """Train a copy of the smallest sharded parameter of each kind for one step.

    Raises:
        PluginError: the optimizer cannot.
    """
    if isinstance(spec, ImportedOptimizer):  # it tries itself
        return
    sharded = [param for param in params if param.tensor.requires_grad and is_sharded(param.tensor)]
    by_size = sorted(sharded, key=lambda param: param.tensor.numel(), reverse=True)
    for param in {(param.tensor.dim(), param.geometry is None): param for param in by_size}.values():
        if (reason := _trial(spec, param)) is not None:
            raise PluginError(
                f'optimizer "{spec.name}" cannot train the sharded parameter {param.path}: {reason}; '
                "train replicas with DistributedDataParallel, or take another optimizer"
            )


def _trial(spec: OptimizerSpec, param: Param) -> str | None:
    parameter = nn.Parameter(torch.ones_like(param.tensor))
    parameter.grad = torch.ones_like(parameter)
    geometry: dict[Tensor, Geometry] = {}
    if param.geometry is not None:
        geometry[parameter] = Geometry.of(param.geometry.format)
    with torch.random.fork_rng(devices=[]):
        try:
            spec.build([{"params": [parameter]}], geometry).step()
        except Exception as error:  # code of a plugin
            return f"{type(error).__name__}: {error}".splitlines()[0]
    return None

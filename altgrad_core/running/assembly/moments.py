"""Whether the optimizers of a run keep the moments that its recipe quantizes, found out before the first step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad_core.contracts.actions import MOMENTS
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.running.assembly.groups import Share
from altgrad_core.running.assembly.library import build
from altgrad_core.running.model.optimizer_state import moments_in, without_moments
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule


def missing_moments(plan: Plan, parts: Sequence[Share]) -> str | None:
    """What is wrong where an optimizer keeps none of the moments that are listed for a weight it trains.

    Each optimizer takes one step on a layer of the shape of the smallest such weight.
    """
    listed = {plan.weight(path): path for path, own in plan.layers.items() if not own.keys().isdisjoint(MOMENTS)}
    for part in parts:
        mine = [p.tensor for p in part.params if p.tensor in listed and p.tensor.requires_grad]
        if not mine:
            continue
        path = listed[min(mine, key=Tensor.numel)]
        optimizer, weight = _tried(plan, path, part.spec)
        roles = [role for role in plan.layers[path] if role in MOMENTS]
        if not moments_in(optimizer.state.get(weight, {}), roles):
            return without_moments(path, roles, optimizer.state.get(weight, {}), part.spec.name)
    return None


def _tried(plan: Plan, path: str, spec: OptimizerSpec) -> tuple[Optimizer, Tensor]:
    """An optimizer after a step, and the weight that it moved, quantized as that of the layer at this path."""
    like, own = plan.weight(path), plan.layers[path].get("weight")
    assert like is not None
    layer = nn.Linear(like[0].numel(), len(like), bias=False)
    rules = [] if own is None else [Rule("*", weight=own.quantizer)]
    with torch.random.fork_rng(devices=[]):
        trial = Plan(nn.Sequential(layer), rules, kinds=plan.kinds, find=plan.format)
        optimizer = build(spec, trial.params())
        layer.weight.grad = torch.full_like(layer.weight, 1e-3)
        optimizer.step()
    return optimizer, layer.weight

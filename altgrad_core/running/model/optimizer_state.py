"""The moments that an optimizer keeps of a weight, rounded where they are stored: after every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from altgrad_core.contracts.actions import MOMENTS, Role
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.sharded import gathered, sharded_as
from altgrad_core.numerics.tracing import not_traced
from altgrad_core.running.model.operand import Operand

NAMES: Mapping[Role, tuple[str, ...]] = {
    "moment": ("exp_avg", "momentum_buffer"),
    "second_moment": ("exp_avg_sq", "square_avg", "max_exp_avg_sq"),
}
"""What optimizers call them: Adam and its kin, momentum, RMSprop. The first one that there is is rounded."""


@torch.no_grad()
@not_traced
def round_moments(
    layers: Mapping[str, Mapping[Role, Operand]], weight_of: Callable[[str], Tensor | None], optimizer: Optimizer
) -> None:
    """Round the moments of every listed weight that `optimizer` keeps state of; a weight of several layers once.

    The step itself was taken with moments in full precision, made from the rounded ones of the step before: the
    storage is what is emulated, as in FP8-LM (Peng et al., 2310.18313) and COAT (Xi et al., 2410.19313).

    Raises:
        ManifestError: its state has no moment at all, or layers that share a weight are quantized differently.
    """
    done: dict[Tensor, Mapping[Role, Operand]] = {}
    for path, operands in layers.items():
        own = {role: operands[role] for role in MOMENTS if role in operands}
        weight = weight_of(path) if own else None
        state = {} if weight is None else optimizer.state.get(weight, {})
        if weight is None or not (state or _is_trained(weight, optimizer)):
            continue
        other = done.setdefault(weight, own)
        if other is not own:
            _check_alike(path, own, other)
        elif not _round(own, state):
            raise ManifestError(without_moments(path, list(own), state, type(optimizer).__name__))


def _is_trained(weight: Tensor, optimizer: Optimizer) -> bool:
    return weight.grad is not None and any(weight is p for group in optimizer.param_groups for p in group["params"])


def _round(own: Mapping[Role, Operand], state: Mapping[str, Any]) -> bool:
    """Round what there is of these roles; whether there is any."""
    result = moments_in(state, list(own))
    for role, tensor in result.items():
        tensor.copy_(sharded_as(own[role].rounds(training=True)(gathered(tensor))[0], tensor))
    return bool(result)


def moments_in(state: Mapping[str, Any], roles: Sequence[Role]) -> dict[Role, Tensor]:
    """The moments of these roles in the state of one parameter."""
    named = {role: [state[name] for name in NAMES[role] if isinstance(state.get(name), Tensor)] for role in roles}
    return {role: tensors[0] for role, tensors in named.items() if tensors}


def _check_alike(path: str, own: Mapping[Role, Operand], other: Mapping[Role, Operand]) -> None:
    if {role: operand.quantizer for role, operand in own.items()} != {role: o.quantizer for role, o in other.items()}:
        first = next(iter(other.values())).path
        raise ManifestError(f"{first} and {path} share one weight, but their rules quantize its moments differently")


def without_moments(path: str, roles: Sequence[Role], state: Mapping[str, Any], optimizer: str) -> str:
    """What is said where the state of the weight of a layer has no moment of any listed role."""
    requested, names = " and ".join(roles), " or ".join(name for role in roles for name in NAMES[role])
    kept = ", ".join(key for key, value in state.items() if value is not None) or "nothing"
    return f"the recipe quantizes the {requested} of {path}, which optimizers keep as {names}; {optimizer} keeps {kept}"

"""How far a recipe moves the weights and the outputs of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.twin import undisturbed, unquantized


class LayerError(NamedTuple):
    """Relative errors of one layer, in the L2 norm.

    Attributes:
        weight: of the rounded weight; None where it is not quantized.
        output: of the output of its module, errors of earlier layers included; None where the module gives no tensor.
    """

    layer: str
    weight: float | None
    output: float | None


@torch.no_grad()
def layer_errors(plan: Plan, inputs: Any) -> tuple[LayerError, ...]:
    """The errors of every quantized layer on one batch; the model is in evaluation."""
    with undisturbed(plan.model), torch.no_grad():
        with unquantized(plan.model), _kept_outputs(plan) as exact:
            outputs_of(plan.model, inputs)
        with _kept_outputs(plan) as rounded:
            outputs_of(plan.model, inputs)
    result = []
    for path, operands in plan.layers.items():
        module, weight = plan.known[path].module, plan.weight(path)
        of_weight = None
        if "weight" in operands and weight is not None and not operands["weight"].format.is_identity:
            of_weight = _relative(operands["weight"].evaluated(weight).values, weight)
        has_output = module in exact and module in rounded
        result.append(LayerError(path, of_weight, _relative(rounded[module], exact[module]) if has_output else None))
    return tuple(result)


def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """What the model makes of inputs, or of keywords where they are a mapping; logits out of an object that has them."""
    outputs = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    return getattr(outputs, "logits", outputs)


def _relative(approximate: Tensor, exact: Tensor) -> float:
    norm = float(exact.float().norm())
    error = float((approximate.float() - exact.float()).norm())
    return error / norm if norm else (0.0 if error == 0 else float("inf"))


@contextmanager
def _kept_outputs(plan: Plan) -> Iterator[dict[nn.Module, Tensor]]:
    """The last output of every module that is quantized."""
    kept: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            kept[module] = output.detach().clone()

    modules = {plan.known[path].module for path in plan.layers}
    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()

"""The quantized weights that only their own layers read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import RunError
from altgrad_core.numerics.sharded import is_sharded
from altgrad_core.running.model.layers import Layer
from altgrad_core.running.model.operand import Operand


class Evaluated(NamedTuple):
    """A weight of a layer as an evaluation reads it, of which nothing else reads the unrounded values."""

    path: str
    name: str
    parameter: nn.Parameter
    operand: Operand


def own_weights(
    model: nn.Module, known: Mapping[str, Layer], layers: Mapping[str, Mapping[Role, Operand]]
) -> list[Evaluated]:
    """The quantized weights that only their own layers read.

    Raises:
        RunError: parameters are sharded over processes.
    """
    names = _names_of(model)
    result = []
    for path, operands in layers.items():
        weight, operand = known[path].weight, operands.get("weight")
        if operand is None or operand.format.is_identity or weight not in names or not isinstance(weight, nn.Parameter):
            continue
        if len(names[weight]) == len(known[path].paths):
            result.append(Evaluated(path, names[weight][0], weight, operand))
    return result


def _names_of(model: nn.Module) -> dict[Tensor, list[str]]:
    """Every name of every parameter.

    Raises:
        RunError: parameters are sharded over processes.
    """
    names: dict[Tensor, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if is_sharded(parameter):
            raise RunError(
                f"{name} is sharded over processes (fully_shard), so it can be neither exported nor baked here; write it with "
                "save_sharded of altgrad_core.integrations.sharded, and read that in one process"
            )
        names.setdefault(parameter, []).append(name)
    return names


def weights_by_name(
    model: nn.Module, known: Mapping[str, Layer], layers: Mapping[str, Mapping[Role, Operand]]
) -> list[Evaluated]:
    """Every quantized weight that is a parameter, under each name that its layer has for it; others may read it too."""
    places: dict[nn.Module, list[str]] = {}
    for place, module in model.named_modules(remove_duplicate=False):
        places.setdefault(module, []).append(place)
    result = []
    for path, operands in layers.items():
        layer, operand = known[path], operands.get("weight")
        weight = layer.weight
        if operand is None or operand.format.is_identity or not isinstance(weight, nn.Parameter):
            continue
        names = (f"{place}.{layer.product.weight}".lstrip(".") for place in places[layer.module])
        result += [Evaluated(path, name, weight, operand) for name in names]
    return result


def rotated_weights(known: Mapping[str, Layer], layers: Mapping[str, Mapping[Role, Operand]]) -> dict[str, Tensor]:
    """By path, the weights that are rounded after a Hadamard transform: they have no grid of their own."""
    weights = {
        path: known[path].weight for path, own in layers.items() if "weight" in own and _is_rotated(own["weight"])
    }
    return {path: weight for path, weight in weights.items() if weight is not None}


def _is_rotated(operand: Operand) -> bool:
    return operand.quantizer.hadamard is not None and not operand.format.is_identity


def refuse_rotated(own: list[Evaluated]) -> None:
    """A file of codes has no place for a basis.

    Raises:
        RunError: a weight is rounded after a Hadamard transform.
    """
    for weight in own:
        if _is_rotated(weight.operand):
            raise RunError(
                f"{weight.name} is rounded after a Hadamard transform, which a file of codes has no place for; "
                "remove(bake=True) leaves its rounded values in the model"
            )


def left_out(own: list[Evaluated], layers: Mapping[str, Mapping[Role, Operand]]) -> list[str]:
    """Paths of the layers with a quantized weight that is not among `own`."""
    result = {weight.path for weight in own}
    quantized = [path for path, roles in layers.items() if "weight" in roles and not roles["weight"].format.is_identity]
    return [path for path in quantized if path not in result]


@torch.no_grad()
def bake(model: nn.Module, known: Mapping[str, Layer], layers: Mapping[str, Mapping[Role, Operand]]) -> None:
    """Give the weights the values that an evaluation reads, and warn of those that are left as they are.

    A weight that several layers share gets them where nothing else reads it and all of them round it alike.
    """
    names, readers, baked = _names_of(model), dict[Tensor, list[str]](), set[str]()
    for path in left_out([], layers):
        if isinstance(weight := known[path].weight, nn.Parameter):
            readers.setdefault(weight, []).append(path)
    for weight, paths in readers.items():
        first, *others = (layers[path]["weight"].evaluated(weight).values for path in paths)
        is_all = len(names[weight]) == sum(len(known[path].paths) for path in paths)
        if is_all and all(torch.equal(first, other) for other in others):
            weight.copy_(first)
            baked |= set(paths)
    if left := [path for path in left_out([], layers) if path not in baked]:
        warnings.warn(f"not baked, for others read or make these weights too: {', '.join(left)}", stacklevel=4)

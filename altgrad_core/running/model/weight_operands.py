"""The operand of each quantized weight that has a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import ManifestError
from altgrad_core.running.model.operand import Operand


def weight_operands(
    layers: Mapping[str, Mapping[Role, Operand]], weight_of: Callable[[str], Tensor | None]
) -> dict[Tensor, Operand]:
    """The operand of the first layer that has each weight.

    Raises:
        ManifestError: layers that share one weight quantize it differently.
    """
    result: dict[Tensor, Operand] = {}
    for path, operands in layers.items():
        mine, weight = operands.get("weight"), weight_of(path)
        if mine is None or not mine.quantizer.has_grid or not isinstance(weight, Tensor):
            continue
        other = result.setdefault(weight, mine)
        if other.quantizer != mine.quantizer:
            raise ManifestError(
                f"{other.path} and {mine.path} share one weight, but their rules quantize it differently"
            )
    return result

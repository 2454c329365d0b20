"""How many bits a recipe takes."""

from __future__ import annotations

from collections.abc import Mapping

from altgrad_core.contracts.actions import Role
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.layers import Layer

SCALE_BITS = {"fp32": 32, "e8m0": 8, "e4m3": 8}
UNQUANTIZED = 32.0
FORWARD: tuple[Role, ...] = ("weight", "activation")


def mean_bits(layers: Mapping[str, Layer], chosen: Mapping[str, Mapping[Role, Quantizer]]) -> float:
    """The mean over the operands of forward products, scales included; 32 where an operand is not quantized.

    A layer counts by the elements of its weight, which its multiply-adds grow with. Layers that `*` leaves out and no
    rule names, such as embeddings, do not count, nor do products without a weight, such as those of attention.
    """
    total, weighed = 0.0, 0
    for path, layer in layers.items():
        weight = layer.weight
        roles = [role for role in FORWARD if role in layer.product.roles]
        if weight is None or (path not in chosen and not layer.spec.in_star) or not roles:
            continue
        shape = tuple(weight.shape)
        total += weight.numel() * sum(_bits(chosen.get(path, {}).get(role), shape) for role in roles) / len(roles)
        weighed += weight.numel()
    return total / weighed if weighed else UNQUANTIZED


def _bits(quantizer: Quantizer | None, shape: tuple[int, ...]) -> float:
    return UNQUANTIZED if quantizer is None else operand_bits(quantizer, shape)


def operand_bits(quantizer: Quantizer, shape: tuple[int, ...]) -> float:
    """Bits of one element, and its share in the scale of its tile. Rows of activations are as long as those of weights."""
    rule, width = quantizer.scale_rule, quantizer.target.bits
    if quantizer.target.is_identity or quantizer.tiling.whole:
        return float(width)
    tiling = quantizer.tiling
    rows = shape[0] if tiling.rows is None else tiling.rows
    columns = shape[-1] if tiling.columns is None else tiling.columns
    return width + SCALE_BITS[rule.scale_format] / max(1, min(rows, shape[0]) * min(columns, shape[-1]))

"""How many bits a recipe takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from altgrad_core.contracts.actions import GRADIENTS, Role
from altgrad_core.contracts.layer import ATTENTION
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.layers import Layer
from altgrad_core.running.model.layout import Layout

SCALE_BITS = {"fp32": 32, "e8m0": 8, "e4m3": 8}
UNQUANTIZED = 32.0
FORWARD: tuple[Role, ...] = ("weight", "activation")

Shapes = Mapping[str, Mapping[Role, tuple[int, ...]]]
"""By path and role of attention, the shape of the operand as rows: the dimension that its product sums over is the last."""


class Size(NamedTuple):
    """How much an operand counts.

    Attributes:
        multiply_adds: of its product in one forward pass, for one token: its weight in the mean.
        shape: as rows, along which tiles lie.
    """

    multiply_adds: int
    shape: tuple[int, ...]


Sizes = Mapping[tuple[str, Role], Size]
"""By path and role."""


def sizes_of(layers: Mapping[str, Layer], roles: Sequence[Role], shapes: Shapes, named: Sequence[str] = ()) -> Sizes:
    """The operands of some roles that count, each with its size.

    A layer with a weight counts by the elements of it, which its multiply-adds grow with; attention by its multiply-adds
    for one query. Layers that `*` leaves out, such as embeddings, count only where a rule names them.

    Args:
        shapes: of the operands of attention; where they are not given, attention does not count.
        named: paths of layers that rules name.
    """
    result: dict[tuple[str, Role], Size] = {}
    for path, layer in layers.items():
        if not layer.spec.in_star and path not in named:
            continue
        own = _of_weight(layer) if layer.weight is not None else _of_attention(shapes.get(path, {}))
        result |= {(path, role): own[role] for role in roles if role in layer.product.roles and role in own}
    return result


def _of_weight(layer: Layer) -> dict[Role, Size]:
    """Rows of activations are as long as those of the weight, rows of gradients as its columns."""
    assert layer.weight is not None
    shape = tuple(Layout(layer.product.contracted.get("weight", (-1,))).rows(layer.weight.detach()).shape)
    size, turned = math.prod(shape), shape[::-1]
    return {"weight": Size(size, shape), "activation": Size(size, shape), "gradient": Size(size, turned)}


def _of_attention(shapes: Mapping[Role, tuple[int, ...]]) -> dict[Role, Size]:
    """S = Q K^T takes heads x keys x width multiply-adds for a query, and O = P V as many."""
    if not {"query", "key", "probability", "value"} <= shapes.keys():
        return {}
    query, key, probability, value = (shapes[role] for role in ("query", "key", "probability", "value"))
    queries = (1, 1, *probability)[-3] * probability[-1]
    scores, output = queries * query[-1], queries * value[-2]
    return {
        "query": Size(scores, query),
        "key": Size(scores, key),
        "probability": Size(output, probability),
        "value": Size(output, value),
        "score_gradient": Size(scores, probability),
        "output_gradient": Size(output, (*query[:-1], value[-2])),
    }


def mean_bits(sizes: Sizes, chosen: Mapping[str, Mapping[Role, Quantizer]]) -> float:
    """The mean over operands, scales included, each counted by its multiply-adds; 32 where one is not quantized."""
    total = sum(
        size.multiply_adds * _bits(chosen.get(path, {}).get(role), size) for (path, role), size in sizes.items()
    )
    count = sum(size.multiply_adds for size in sizes.values())
    return total / count if count else UNQUANTIZED


def _bits(quantizer: Quantizer | None, size: Size) -> float:
    return UNQUANTIZED if quantizer is None else operand_bits(quantizer, size.shape)


def operand_bits(quantizer: Quantizer, shape: tuple[int, ...]) -> float:
    """Bits of one element, and its share in the scales; one scale for all elements is no share."""
    width, scales = quantizer.target.bits, math.prod(quantizer.tiling.shape(shape))
    if quantizer.target.is_identity or quantizer.tiling.whole:
        return float(width)
    return width + SCALE_BITS[quantizer.scale_rule.scale_format] * scales / max(1, math.prod(shape))


def roles_of(chosen: Mapping[str, Mapping[Role, Quantizer]]) -> tuple[Role, ...]:
    """The roles by which a recipe is counted where nothing else is said: those of forward products."""
    has_attention = any(role in ATTENTION for roles in chosen.values() for role in roles)
    return (*FORWARD, *(role for role in ATTENTION if role not in GRADIENTS)) if has_attention else FORWARD

"""Attention by `scaled_dot_product_attention`: any module that calls it, those of Hugging Face included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import ATTENTION, LayerSpec, Product, Rounding
from altgrad_layers.callers import attends, fused, is_eager

if TYPE_CHECKING:
    from torch import nn

CONTRACTED: Mapping[Any, tuple[int, ...]] = {"value": (-2,)}
"""O = P V sums over keys, S = Q K^T over the width of a head."""


class DotProductAttention(LayerSpec):
    """Quantizes attention in modules that call `scaled_dot_product_attention`.

    These are Hugging Face's attention, and modules of your own.

    S = Q(q) Q(k)^T, P = softmax(scale * S + mask), O = Q(P) Q(v); the gradients of S and O are quantized once, before
    both of their backward products. P is rounded after dropout, as O multiplies it. Keys and values that several
    heads share are rounded once. Calls that parts of the module make count as its own, unless the part is such a module.
    """

    name: ClassVar = "dot-product-attention"

    def adapts(self, module: nn.Module) -> bool:
        """Modules of Hugging Face whose configuration says `eager` compute it otherwise."""
        return attends(module) and not is_eager(module)

    def refusal(self, module: nn.Module) -> str | None:
        """Another implementation of Hugging Face, or a kernel that computes all of it."""
        if (kernel := fused(module)) is not None:
            return f"its attention is computed by {kernel}, whose operands cannot be rounded: call scaled_dot_product_attention"
        if attends(module) and is_eager(module):
            used = module.config._attn_implementation  # type: ignore[union-attr]
            return f'attention of {type(module).__name__} is computed by "{used}": build the model with attn_implementation="sdpa"'
        return None

    def products(self, module: nn.Module) -> Sequence[Product]:
        """Attention, at the path of the module."""
        return (Product(weight=None, roles=ATTENTION, contracted=CONTRACTED),)

    def forward(self, module: nn.Module, rounding: Rounding, *args: Any, **kwargs: Any) -> Any:
        """As the module, with its attention computed by `attention`."""
        from altgrad_layers.intercept import Intercepting

        with Intercepting(rounding):
            return rounding.plain_forward(module, *args, **kwargs)

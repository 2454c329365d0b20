"""Norms with a weight: LayerNorm and RMSNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import LayerSpec, Product, Rounding
from altgrad_layers.own_forward import computes_as, why_not

if TYPE_CHECKING:
    from torch import Tensor, nn


class LayerNorm(LayerSpec):
    """Quantizes `torch.nn.LayerNorm` and `RMSNorm`, where a rule names them.

    y = norm(Q(x)) * Q(w) + b, with the weight w and the input x.

    Blocks that share a scale run along the last normalized dimension. Elements of w are near each other, so that in a block all
    may round to the largest number of a format (N. Su et al., 2506.20752). A norm without a weight is not adapted.
    """

    name: ClassVar = "layer-norm"
    in_star: ClassVar = False
    in_last_star: ClassVar = False

    def adapts(self, module: nn.Module) -> bool:
        """Subclasses included that keep the forward pass."""
        from torch import nn

        return computes_as(module, nn.LayerNorm, nn.RMSNorm) and module.weight is not None

    def refusal(self, module: nn.Module) -> str | None:
        """A forward pass of its own."""
        from torch import nn

        return why_not(module, nn.LayerNorm, nn.RMSNorm)

    def products(self, module: nn.Module) -> Sequence[Product]:
        """The product of the normalized input and the weight, element by element."""
        return (Product(roles=("weight", "activation")),)

    def forward(self, module: Any, rounding: Rounding, input: Tensor) -> Tensor:
        """From and to shape (..., *normalized_shape)."""
        from torch import nn
        from torch.nn import functional

        x, weight = rounding.round(input, "activation"), rounding.round(module.weight, "weight")
        if isinstance(module, nn.RMSNorm):
            return functional.rms_norm(x, module.normalized_shape, weight, module.eps)
        return functional.layer_norm(x, module.normalized_shape, weight, module.bias, module.eps)

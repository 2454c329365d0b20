"""Layers that are linear in each of two inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import LayerSpec, Rounding
from altgrad_layers.own_forward import computes_as, why_not

if TYPE_CHECKING:
    from torch import Tensor, nn


class Bilinear(LayerSpec):
    """Quantizes `torch.nn.Bilinear`, with its weight and both of its inputs.

    y = Q(x1)^T Q(W) Q(x2) + b. Both inputs are activations, each with a scale of its own.
    """

    name: ClassVar = "bilinear"

    def adapts(self, module: nn.Module) -> bool:
        """Subclasses included that keep the forward pass."""
        from torch import nn

        return computes_as(module, nn.Bilinear)

    def refusal(self, module: nn.Module) -> str | None:
        """A forward pass of its own, or no weight yet."""
        from torch import nn

        return why_not(module, nn.Bilinear)

    def forward(self, module: Any, rounding: Rounding, input1: Tensor, input2: Tensor) -> Tensor:
        """From shapes (..., inputs 1) and (..., inputs 2) to (..., outputs)."""
        from torch.nn import functional

        one, other = rounding.round(input1, "activation"), rounding.round(input2, "activation")
        y = rounding.round_gradient(functional.bilinear(one, other, rounding.round(module.weight, "weight"), None))
        return y if module.bias is None else y + module.bias

"""Linear layers: those of torch, and those of GPT-2, whose weight lies the other way round."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import LayerSpec, Product, Rounding
from altgrad_layers.own_forward import computes_as, why_not

if TYPE_CHECKING:
    from torch import Tensor, nn


class Linear(LayerSpec):
    """Quantizes `torch.nn.Linear` and subclasses that keep its forward pass.

    y = Q(x) Q(W)^T + b. The gradient of y is quantized once, before both backward products; that of b is not.
    """

    name: ClassVar = "linear"

    def adapts(self, module: nn.Module) -> bool:
        """The output projection of attention is none: attention reads its weight and never calls it."""
        from torch import nn
        from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

        return computes_as(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear)

    def refusal(self, module: nn.Module) -> str | None:
        """A forward pass of its own, or no weight yet."""
        from torch import nn

        return why_not(module, nn.Linear)

    def products(self, module: nn.Module) -> Sequence[Product]:
        """One, whose backward products can round by rules of their own."""
        return (Product.linear(),)

    def forward(self, module: Any, rounding: Rounding, input: Tensor) -> Tensor:
        """From shape (..., inputs) to (..., outputs)."""
        return rounding.linear(input, module.weight, module.bias)


class Conv1D(LayerSpec):
    """Quantizes Hugging Face's `Conv1D`, the linear layer of GPT-2.

    Its weight has shape (inputs, outputs).
    """

    name: ClassVar = "hf-conv1d"

    def adapts(self, module: nn.Module) -> bool:
        """Nothing is imported: where the library is not loaded, no module is of its class."""
        library = sys.modules.get("transformers.pytorch_utils")
        return library is not None and computes_as(module, library.Conv1D)

    def refusal(self, module: nn.Module) -> str | None:
        """A forward pass of its own."""
        library = sys.modules.get("transformers.pytorch_utils")
        return None if library is None else why_not(module, library.Conv1D)

    def products(self, module: nn.Module) -> Sequence[Product]:
        """The product sums over the first dimension of the weight."""
        return (Product(contracted={"weight": (0,)}),)

    def forward(self, module: Any, rounding: Rounding, x: Tensor) -> Tensor:
        """From shape (..., inputs) to (..., outputs)."""
        y = rounding.round(x, "activation") @ rounding.round(module.weight, "weight")
        biased: Tensor = rounding.round_gradient(y) + module.bias
        return biased

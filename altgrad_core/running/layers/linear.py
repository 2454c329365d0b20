"""Model surgery: linear layers learn to quantize their operands, in place; no key of the `state_dict` changes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.straight_through import QuantizedProduct, as_it_is
from altgrad_core.running.model.operand import Operand

Operands = dict[Role, Operand]


class QuantizedLinear(nn.Linear):
    """A linear layer with quantized operands. Made from an existing `nn.Linear`, which keeps its identity."""

    operands: Operands

    def forward(self, input: Tensor) -> Tensor:
        """y = Q(x) Q(W)^T + b. The gradient of y is quantized once, before both backward products; b's is not."""
        of, training = self.operands, self.training
        y: Tensor = QuantizedProduct.apply(
            input,
            self.weight,
            self.bias,
            of["activation"].rounds(training=training) if "activation" in of else as_it_is,
            of["weight"].rounds_once(self.weight, training=training) if "weight" in of else as_it_is,
            of["gradient"].rounds(training=training) if "gradient" in of else None,
        )
        return y


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer by path; subclasses with a forward pass of their own are not among them."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and type(module).forward in (nn.Linear.forward, QuantizedLinear.forward)
        and not isinstance(module, NonDynamicallyQuantizableLinear)  # attention reads its weight and never calls it
    }


def attach(layer: nn.Linear, operands: Operands) -> None:
    """Make `layer` quantize its operands. Hooks, references and parameters stay as they are.

    Raises:
        ManifestError: it does already.
    """
    if isinstance(layer, QuantizedLinear):
        path = next(iter(operands.values())).path
        raise ManifestError(f"layer {path} is quantized already; quantize_model takes a model once")
    layer.__class__ = QuantizedLinear
    layer.operands = operands  # type: ignore[assignment]


def detach(layer: nn.Linear) -> None:
    """Make a quantized layer an ordinary one again."""
    if isinstance(layer, QuantizedLinear):
        del layer.operands
        layer.__class__ = nn.Linear  # type: ignore[assignment]

"""Recurrent layers, which are refused with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from altgrad_core import LayerSpec, Rounding

if TYPE_CHECKING:
    from torch import nn


class Recurrent(LayerSpec):
    """Explains why RNN, LSTM and GRU cannot be quantized.

    torch computes all their products in one kernel.
    """

    name: ClassVar = "recurrent"

    def adapts(self, module: nn.Module) -> bool:
        """None."""
        return False

    def refusal(self, module: nn.Module) -> str | None:
        """Every recurrent layer."""
        from torch import nn

        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            return "a recurrent layer computes its products in one kernel of torch, whose operands cannot be rounded"
        return None

    def forward(self, module: nn.Module, rounding: Rounding, *args: Any, **kwargs: Any) -> NoReturn:
        """It adapts no module."""
        raise TypeError(f"{type(module).__name__} cannot be quantized")

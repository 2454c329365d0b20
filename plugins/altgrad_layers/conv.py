"""Convolutions in one, two and three dimensions, and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import LayerSpec, Product, Rounding
from altgrad_layers.own_forward import computes_as, why_not

if TYPE_CHECKING:
    from torch import Tensor, nn


class Conv(LayerSpec):
    """Quantizes the convolutions `torch.nn.Conv1d`, `Conv2d` and `Conv3d`.

    The product sums over input channels and the kernel: a row of the weight is one output channel. Rows and blocks of
    activations and gradients run along the channels.
    """

    name: ClassVar = "conv"

    def adapts(self, module: nn.Module) -> bool:
        """Subclasses included that keep the forward pass."""
        from torch import nn

        return computes_as(module, nn.Conv1d, nn.Conv2d, nn.Conv3d)

    def refusal(self, module: nn.Module) -> str | None:
        """A forward pass of its own, or no weight yet."""
        from torch import nn

        return why_not(module, nn.Conv1d, nn.Conv2d, nn.Conv3d)

    def products(self, module: nn.Module) -> Sequence[Product]:
        """One product."""
        n = len(module.kernel_size)  # type: ignore[arg-type]
        channels = (-n - 1,)
        return (Product(contracted={"weight": tuple(range(-n - 1, 0)), "activation": channels, "gradient": channels}),)

    def forward(self, module: Any, rounding: Rounding, input: Tensor) -> Tensor:
        """From shape (batch, channels, ...) or without the batch."""
        x, weight = rounding.round(input, "activation"), rounding.round(module.weight, "weight")
        return _biased(module, rounding.round_gradient(module._conv_forward(x, weight, None)))


class ConvTransposed(LayerSpec):
    """Quantizes `torch.nn.ConvTranspose1d`, `ConvTranspose2d` and `ConvTranspose3d`.

    The product sums over input channels.
    """

    name: ClassVar = "conv-transposed"

    def adapts(self, module: nn.Module) -> bool:
        """Subclasses included that keep the forward pass."""
        from torch import nn

        return computes_as(module, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

    def refusal(self, module: nn.Module) -> str | None:
        """A forward pass of its own, or no weight yet."""
        from torch import nn

        return why_not(module, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

    def products(self, module: nn.Module) -> Sequence[Product]:
        """One product; the weight has shape (input channels, output channels per group, *kernel)."""
        n = len(module.kernel_size)  # type: ignore[arg-type]
        channels = (-n - 1,)
        return (Product(contracted={"weight": (0,), "activation": channels, "gradient": channels}),)

    def forward(
        self, module: Any, rounding: Rounding, input: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """As `torch.nn.ConvTranspose2d`."""
        from torch.nn import functional

        n = len(module.kernel_size)
        padding = module._output_padding(
            input, output_size, module.stride, module.padding, module.kernel_size, n, module.dilation
        )
        x, weight = rounding.round(input, "activation"), rounding.round(module.weight, "weight")
        transpose = getattr(functional, f"conv_transpose{n}d")
        y = transpose(x, weight, None, module.stride, module.padding, padding, module.groups, module.dilation)
        return _biased(module, rounding.round_gradient(y))


def _biased(module: Any, y: Tensor) -> Tensor:
    """y plus the bias of each channel, whose gradient is not rounded."""
    if module.bias is None:
        return y
    biased: Tensor = y + module.bias.view(-1, *[1] * len(module.kernel_size))
    return biased

"""A multilayer perceptron in plain torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from altgrad_core import DataShape, ManifestError

if TYPE_CHECKING:
    from altgrad_supervised import Perceptron


class Block(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, options: Perceptron) -> None:
        super().__init__()
        inner = options.expansion * options.width
        self.norm = nn.LayerNorm(options.width, bias=options.bias) if options.norm else nn.Identity()
        self.fc = nn.Linear(options.width, inner, bias=options.bias)
        self.c_proj = nn.Linear(inner, options.width, bias=options.bias)
        self.activation = functional.relu if options.activation == "relu" else functional.gelu
        self.residual = options.residual

    def forward(self, x: Tensor) -> Tensor:
        """From and to shape (batch, width)."""
        result = self.c_proj(self.activation(self.fc(self.norm(x))))
        return x + result if self.residual else result


class MLP(nn.Module):
    """A linear layer, blocks, and a linear head."""

    def __init__(self, options: Perceptron, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(inputs, options.width, bias=options.bias)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.depth))
        self.head = nn.Linear(options.width, outputs, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        """From numbers, (batch, ...), to outputs, (batch, outputs)."""
        x = self.inputs(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def perceptron(options: Perceptron, shape: DataShape) -> MLP:
    """The module for these inputs.

    Raises:
        ManifestError: they are tokens.
    """
    if shape.vocabulary is not None:
        raise ManifestError('model.use: "mlp" takes numbers, and this data set has tokens; choose a model of tokens')
    return MLP(options, math.prod(shape.inputs), shape.outputs)

"""A few steps of gradient descent, undone afterwards: what rounded gradients cost shows in the loss after them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

RATES = tuple(10 ** (exponent / 2) for exponent in range(-8, 3))
"""The rates among which one is chosen: half a decade apart."""


@dataclass(frozen=True)
class Descent:
    """Plain gradient descent: w - rate x gradient, one batch a step, the batches in turn.

    Attributes:
        steps: how many; 0 leaves the model as it is.
    """

    steps: int = 0
    rate: float = 0.0

    @contextmanager
    def taken(
        self, model: nn.Module, batches: Sequence[Any], loss: Callable[[Any], Tensor], after: Callable[[], None]
    ) -> Iterator[None]:
        """For the time being the weights are those after the steps.

        Args:
            loss: of a batch, with its graph.
            after: called after every step.
        """
        if not self.steps:
            yield
            return
        tensors = [*model.parameters(), *model.buffers()]
        kept = [tensor.detach().clone() for tensor in tensors]
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        try:
            for step in range(self.steps):
                with torch.enable_grad():
                    gradients = torch.autograd.grad(loss(batches[step % len(batches)]), trained, allow_unused=True)
                with torch.no_grad():
                    for parameter, gradient in zip(trained, gradients, strict=True):
                        if gradient is not None:
                            parameter.sub_(gradient, alpha=self.rate)
                after()
            yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(tensors, kept, strict=True):
                    tensor.copy_(value)


def best_rate(loss_after: Callable[[float], float]) -> float:
    """Of `RATES`, that with the lowest loss; losses that are not finite are the highest."""

    def loss(rate: float) -> float:
        result = loss_after(rate)
        return result if math.isfinite(result) else math.inf

    return min(RATES, key=loss)

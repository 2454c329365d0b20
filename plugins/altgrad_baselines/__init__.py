"""Baselines: optimizers that know nothing of grids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from altgrad_core import Geometry, OptimizerSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class AdamW(OptimizerSpec):
    """AdamW exactly as in torch (Loshchilov and Hutter, 1711.05101)."""

    name: ClassVar = "adamw"

    lr: PositiveFloat = 1e-3
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """`torch.optim.AdamW`."""
        from torch.optim import AdamW as TorchAdamW

        betas = (self.beta1, self.beta2)
        return TorchAdamW(groups, lr=self.lr, betas=betas, eps=self.eps, weight_decay=self.weight_decay)


@hookimpl
def altgrad_optimizers() -> Iterable[type[OptimizerSpec]]:
    """The optimizers of this package."""
    yield AdamW

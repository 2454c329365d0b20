"""Options of AdamW with relative rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from altgrad_baselines.matrices import matrices
from altgrad_core import Geometry, OptimizerSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class AdamWRelative(OptimizerSpec):
    """AdamW with a rate relative to the root mean square of each matrix.

    The rule is that of Adafactor (1804.04235).

    w -= lr * (max(rms(w), min_rms) * AdamDirection(g) + weight_decay * w), with the root mean square over the matrix as
    it is at that step. Vectors take AdamW.

    Options:
        lr: learning rate at its peak.
        beta1: decay of the mean of the gradients, Adam's beta1.
        beta2: decay of the mean of their squares, Adam's beta2.
        eps: added to the root of that mean, so that nothing is divided by zero.
        weight_decay: multiplied by the rate and the weight, as torch does it.
        min_rms: the smallest root mean square, by which a matrix of zeros still moves; Adafactor's epsilon_2.
        plain_lr: the rate of AdamW for vectors.
    """

    name: ClassVar = "adamw-relative"
    plain_rate: ClassVar = "plain_lr"

    lr: PositiveFloat = 0.01
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    min_rms: PositiveFloat = 1e-3
    plain_lr: PositiveFloat = 1e-3

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float:
        """Matrices move in proportion to their elements, which in hidden ones are about width^(-1/2)."""
        return -0.5 if is_hidden else 0.0

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `RelativeAdamW` optimizer; matrices and vectors stand in groups of their own."""
        from altgrad_baselines.relative import RelativeAdamW

        return RelativeAdamW(
            self.split(groups, matrices(groups), lr=self.plain_lr, weight_decay=0.01),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            min_rms=self.min_rms,
        )

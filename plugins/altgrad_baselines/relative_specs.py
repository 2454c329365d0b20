"""Options of AdamW with relative rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat

from altgrad_baselines.matrices import matrices
from altgrad_baselines.shared_options import AdamOptions, InProportion
from altgrad_core import Geometry

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class AdamWRelative(InProportion, AdamOptions):
    """AdamW with a rate relative to the root mean square of each matrix.

    The rule is that of Adafactor (1804.04235).

    w -= lr * (max(rms(w), min_rms) * AdamDirection(g) + weight_decay * w), with the root mean square over the matrix.
    Vectors take AdamW.

    Options:
        lr: learning rate at its peak.
        beta1: decay of the mean of the gradients, Adam's beta1.
        beta2: decay of the mean of their squares, Adam's beta2.
        eps: added to the root of that mean, so that nothing is divided by zero.
        weight_decay: multiplied by the rate and the weight, as torch does it.
        reference: `current`: the root mean square of the matrix at that step. `initial`: before its first step, so that
            the rate does not follow the weights; a control.
        min_rms: the smallest root mean square, by which a matrix of zeros still moves; Adafactor's epsilon_2.
        plain_lr: the rate of AdamW for vectors.
    """

    name: ClassVar = "adamw-relative"
    plain_rate: ClassVar = "plain_lr"

    lr: PositiveFloat = 0.01
    reference: Literal["current", "initial"] = "current"
    min_rms: PositiveFloat = 1e-3
    plain_lr: PositiveFloat = 1e-3

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `RelativeAdamW` optimizer; matrices and vectors stand in groups of their own."""
        from altgrad_baselines.relative import RelativeAdamW

        return RelativeAdamW(
            self.split(groups, matrices(groups), lr=self.plain_lr, weight_decay=0.01),
            min_rms=self.min_rms,
            reference=self.reference,
            **self.adam(),
        )

"""Options of the optimizers that know nothing of grids: AdamW, SGD and LAMB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from altgrad_baselines.shared_options import AdamOptions, InProportion
from altgrad_core import Geometry, OptimizerSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class AdamW(AdamOptions):
    """AdamW exactly as in torch (Loshchilov and Hutter, 1711.05101).

    Options:
        lr: learning rate at its peak, in real units.
        beta1: decay of the mean of the gradients, Adam's beta1.
        beta2: decay of the mean of their squares, Adam's beta2.
        eps: added to the root of that mean, so that nothing is divided by zero.
        weight_decay: multiplied by the rate and the weight, as torch does it.
    """

    name: ClassVar = "adamw"

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """`torch.optim.AdamW`."""
        from altgrad_baselines.torch_steps import AdamW as TorchAdamW

        return TorchAdamW(groups, **self.adam())


class SGD(OptimizerSpec):
    """Gradient descent with momentum, exactly as in torch (Sutskever et al., ICML 2013).

    v = momentum * v + g, w -= lr * v; with `nesterov`, w -= lr * (g + momentum * v).

    Options:
        lr: learning rate at its peak, in real units.
        momentum: share of v that is kept; 0 for none.
        nesterov: look ahead by one momentum, as above.
        weight_decay: added to the gradient, g + weight_decay * w, so that it is multiplied by the rate and takes part
            in the momentum.
    """

    name: ClassVar = "sgd"

    lr: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs a momentum above 0")
        return self

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float:
        """As of SGD: gradients of all but hidden matrices fall with the width."""
        return 0.0 if is_hidden else 1.0

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """`torch.optim.SGD`."""
        from altgrad_baselines.torch_steps import SGD as TorchSGD

        decay = self.weight_decay
        return TorchSGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=decay)


class LAMB(InProportion, AdamOptions):
    """LAMB: AdamW with a step relative to each layer's weight norm.

    From You et al. (1904.00962).

    r = AdamDirection(g) + weight_decay * w, w -= lr * clamp(|w| / |r|, min_ratio, max_ratio) * r, with norms over the
    whole tensor. The ratio is 1 where |w| is 0, and for vectors. With both bounds 1 this is AdamW.

    Options:
        lr: learning rate at its peak: the step of a layer as a share of the norm of its weights.
        beta1: decay of the mean of the gradients, Adam's beta1.
        beta2: decay of the mean of their squares, Adam's beta2.
        eps: added to the root of that mean, so that nothing is divided by zero.
        min_ratio, max_ratio: bounds of the ratio. (The paper bounds |w| in place of the ratio.)
        weight_decay: takes part in r, so that the ratio takes account of it.
    """

    name: ClassVar = "lamb"

    lr: PositiveFloat = 0.01
    eps: PositiveFloat = 1e-6
    min_ratio: NonNegativeFloat = 0.0
    max_ratio: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.min_ratio > self.max_ratio:
            raise ValueError(f"min_ratio = {self.min_ratio:g} is above max_ratio = {self.max_ratio:g}")
        return self

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `LAMB` optimizer."""
        from altgrad_baselines.lamb import LAMB as Layerwise

        return Layerwise(groups, ratios=(self.min_ratio, self.max_ratio), **self.adam())

"""Options of AdamW without a float32 master: the weights live on their grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from altgrad_baselines.shared_options import AdamOptions
from altgrad_core import Geometry

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class _WithoutMaster(AdamOptions):
    """The options of AdamW, for weights that live on their grids."""

    def _common(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> dict[str, Any]:
        """What both optimizers take."""
        return {"params": self.split(groups, geometry), "geometry": geometry, **self.adam()}


class AdamWStochastic(_WithoutMaster):
    """AdamW without float32 master weights: rounds every new weight stochastically to the grid.

    From Gupta et al. (1502.02551).

    w <- SR(AdamW(w, g)), with moments in float32. The grid keeps the scale of the start, with a binade of headroom;
    beyond its ends the result saturates. Parameters that are not quantized take AdamW.

    Options:
        lr: learning rate at its peak, in real units.
        beta1: decay of the mean of the gradients, Adam's beta1.
        beta2: decay of the mean of their squares, Adam's beta2.
        eps: added to the root of that mean, so that nothing is divided by zero.
        weight_decay: multiplied by the rate, as torch does it, and rounded with the step.
        rounding: `nearest-even` is a control: steps below half a rung are lost, every time.
    """

    name: ClassVar = "adamw-stochastic"

    rounding: Literal["stochastic", "nearest-even"] = "stochastic"

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `StochasticAdamW` optimizer; weights with a geometry and all others stand in groups of their own."""
        from altgrad_baselines.stochastic import StochasticAdamW

        return StochasticAdamW(
            **self._common(groups, geometry),
            rounding=self.rounding,
        )


class AdamWKahan(_WithoutMaster):
    """AdamW without float32 master weights: adds each rounding error to the next step.

    Kahan summation, from Zamirai et al. (2010.06192).

    Kahan summation: y = u + c, s = Q(w + y), c = y - (s - w), w = s, with u the step of AdamW and Q to the nearest
    rung. The grid keeps the scale of the start, with a binade of headroom. Parameters that are not quantized take AdamW.

    Options:
        lr: learning rate at its peak, in real units.
        beta1: decay of the mean of the gradients, Adam's beta1.
        beta2: decay of the mean of their squares, Adam's beta2.
        eps: added to the root of that mean, so that nothing is divided by zero.
        compensation: the type in which c is kept. With `float32`, w + c is the float32 master of AdamW; `bfloat16` takes
            half the memory, and loses steps below 2 ** -9 of c.
        weight_decay: multiplied by the rate and the rounded weight, as a part of u.
    """

    name: ClassVar = "adamw-kahan"

    compensation: Literal["bfloat16", "float32"] = "bfloat16"

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `KahanAdamW` optimizer; weights with a geometry and all others stand in groups of their own."""
        from altgrad_baselines.kahan import KahanAdamW

        return KahanAdamW(
            **self._common(groups, geometry),
            compensation=self.compensation,
        )

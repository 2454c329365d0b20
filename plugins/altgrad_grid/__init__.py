"""The grid optimizer: momentum in real units, steps in whole or fractional rungs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from altgrad_core import Geometry, OptimizerSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class GridSpec(OptimizerSpec):
    """Momentum whose clipped velocity counts rungs of the grid.

    It works with or without float32 master weights.

    Options:
        lr: rungs per unit of velocity.
        momentum: v = momentum * v + g.
        rung_clip: the most rungs in one step.
        master: `fp32`: the master walks by fractional rungs, the weight is the nearest rung. `none`: the weight itself
            moves by whole rungs, rounded stochastically; its scale is fixed at the start with a binade of headroom.
        normalize: `rms`: divide the velocity by its root mean square over the tensor. `none`: do not.
        weight_decay: a fraction per step, following the schedule but not the rate.
        plain_lr: the rate of AdamW for parameters that are not quantized.
        bit_position: keep by how many rungs each weight has gone in all, four bytes a weight.
    """

    name: ClassVar = "grid"
    same_results: ClassVar = frozenset({"bit_position"})  # it only keeps a count
    plain_rate: ClassVar = "plain_lr"

    lr: PositiveFloat = 6.0
    momentum: float = Field(default=0.9, ge=0, lt=1)
    rung_clip: PositiveFloat = 10.0
    master: Literal["fp32", "none"] = "fp32"
    normalize: Literal["none", "rms"] = "none"
    weight_decay: NonNegativeFloat = 1e-4
    plain_lr: PositiveFloat = 1e-3
    bit_position: bool = False

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float:
        """Of rungs: the spacing in a hidden matrix is about width^(-1/2), and a velocity that is not normalized about 1 / width.

        The velocity does so in every matrix, as gradients do. Parameters without a grid step as Adam does.
        """
        if not on_grid:
            return -1.0 if is_hidden else 0.0
        return (-0.5 if is_hidden else 0.0) + (0.0 if self.normalize == "rms" else 1.0)

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `GridOptimizer`; weights with a geometry and all others stand in groups of their own."""
        from altgrad_grid.optimizer import GridOptimizer, Variant

        return GridOptimizer(
            self.split(groups, geometry, lr=self.plain_lr, weight_decay=0.01),
            geometry=geometry,
            variant=Variant(self.rung_clip, self.master, self.normalize, self.bit_position),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


@hookimpl
def altgrad_optimizers() -> Iterable[type[OptimizerSpec]]:
    """The optimizer of this package."""
    yield GridSpec

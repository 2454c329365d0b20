"""ManifoldAdamW: Adam's direction, walked along the rungs of the weight's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from altgrad_core import Geometry, OptimizerSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class ManifoldAdamW(OptimizerSpec):
    """AdamW with steps measured along the grid of the format.

    Options:
        precondition: `rungs`: the weight walks along the rungs of its grid. `gradient`: the gradient is multiplied by
            the local spacing before Adam's moments, and the step is in real units; a control, which Adam nearly
            cancels. `off`: AdamW, bit for bit.
        walk: of `rungs`. `exact`: along the piecewise-linear map. `linear`: one step of the local spacing; a control.
        moments: of `rungs`. `real`: those of the gradient. `carried`: those of the gradient times the local spacing,
            which go stale when a weight crosses a binade; an experiment.
        geometry: a format: its line in place of the weight's own, for every matrix, quantized or not, at the scale that
            quantizing the matrix to that format would have; a control.
        spacing: of `rungs`. `own`: that of the weight. The others are controls, all with a straight step. `shuffled`:
            the spacings of a tensor in another, fixed order. `rms`: their root mean square, one for the whole tensor.
            `initial`, `initial-rms`: those of the weights at the first step, and the root mean square of these.
        floor: binades below the top of the grid, from which on the spacing no longer shrinks; without it, where the format's
            subnormals begin.
        fused: torch's fused step, where AdamW is taken: faster, and other last bits.
        bit_position: keep by how many rungs each weight has gone in all, four bytes a weight.
        lr: with `rungs`, in `lr_unit` per step; otherwise in real units.
        lr_unit: `binades` (2 ** mantissa bits rungs; rungs for a format without binades) or `rungs`.
        weight_decay: with `rungs`, a fraction per step, following the schedule but not the rate (default 1e-4);
            otherwise multiplied by the rate, as torch does it (default 0.01).
        plain_lr: the rate of AdamW for parameters that are not quantized (default 1e-3; `lr` for `gradient`, `off`).
        beta1: decay of the mean of the gradients, Adam's beta1.
        beta2: decay of the mean of their squares, Adam's beta2.
        eps: added to the root of that mean, so that nothing is divided by zero.
    """

    name: ClassVar = "manifold-adamw"
    same_results: ClassVar = frozenset({"bit_position"})  # it only keeps a count
    plain_rate: ClassVar = "plain_lr"
    controls: ClassVar = {"precondition": "preconditioning off, by gradient and by rungs"}

    precondition: Literal["rungs", "gradient", "off"] = "rungs"
    walk: Literal["exact", "linear"] = "exact"
    moments: Literal["real", "carried"] = "real"
    geometry: str | None = None
    spacing: Literal["own", "shuffled", "rms", "initial", "initial-rms"] = "own"
    floor: PositiveInt | None = None
    bit_position: bool = False
    fused: bool = False
    lr: PositiveFloat = 0.05
    lr_unit: Literal["binades", "rungs"] = "binades"
    plain_lr: PositiveFloat | None = None
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _controls_have_an_effect(self) -> Self:
        if self.geometry is not None and self.precondition == "off":
            raise ValueError('geometry does nothing with precondition = "off"; use "rungs" or "gradient"')
        if self.spacing != "own" and (self.precondition, self.moments) != ("rungs", "real"):
            raise ValueError(f'spacing = "{self.spacing}" needs precondition = "rungs" and moments = "real"')
        return self

    def names_formats(self) -> Iterable[str]:
        """The format of the line, if there is one."""
        return [] if self.geometry is None else [self.geometry]

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float:
        """Steps in rungs are in proportion to the spacing of a hidden matrix, about width^(-1/2); others are as Adam's."""
        walks = self.precondition == "rungs" and (on_grid or (self.geometry is not None and is_matrix))
        return 0.0 if not is_hidden else -0.5 if walks else -1.0

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """A `ManifoldAdamW` optimizer; weights with a line and all others stand in groups of their own."""
        from altgrad_core import load_format
        from altgrad_manifold.lines import lines_of
        from altgrad_manifold.optimizer import ManifoldAdamW as Walker
        from altgrad_manifold.optimizer import Variant

        if self.geometry is not None:
            geometry = lines_of(load_format(self.geometry), groups, geometry)
        in_rungs = self.precondition == "rungs"
        decay = self.weight_decay
        plain_lr = self.plain_lr or (1e-3 if in_rungs else self.lr)
        plain_decay = 0.01 if in_rungs or decay is None else decay
        return Walker(
            self.split(groups, geometry, lr=plain_lr, weight_decay=plain_decay),
            geometry=geometry,
            variant=Variant(
                precondition=self.precondition,
                walk=self.walk,
                moments=self.moments,
                spacing=self.spacing,
                lr_unit=self.lr_unit,
                floor=self.floor,
                bit_position=self.bit_position,
            ),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=decay if decay is not None else 1e-4 if in_rungs else 0.01,
            fused=self.fused or None,
        )


@hookimpl
def altgrad_optimizers() -> Iterable[type[OptimizerSpec]]:
    """The optimizer of this package."""
    yield ManifoldAdamW

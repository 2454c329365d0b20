"""A quantizer: a format, a rounding and a scaling. A value, which imports nothing that computes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.overflow import Overflow
from altgrad_core.numerics.rounding import Mode, mode_of
from altgrad_core.numerics.scaling import Scaling, ScalingName
from altgrad_core.numerics.tiling import Tiling

if TYPE_CHECKING:
    from torch import Tensor

StraightThrough = Literal["identity", "clipped"]
Nonfinite = Literal["auto", "saturate", "block"]


@dataclass(frozen=True)
class Quantizer:
    """How one operand is brought to a format. It holds no tensor and no history; `quantize(x, how)` applies it.

    Attributes:
        format: the format, or the name of a registered one, which `quantize_model` looks up.
        rounding: a name in `MODES`, or `stochastic:N` for N random bits.
        scaling: a `Scaling`, or its kind: `none`, `amax`, `delayed`.
        overflow: `saturate`, or `specials`: to infinity or NaN where the format has them.
        straight_through: the gradient of rounding. `identity`, or `clipped`: zero where the value overflowed.
        nonfinite: what becomes of infinities and NaN. `auto`: as `saturate`, but a plan passes infinite gradients of
            outputs on, which loss scalers need to see. `saturate`: an infinity overflows and a NaN stays; the others of
            their scale are rounded as if they were not there. `block`: the scale is NaN, and so are all values (OCP MX 1.0, section 6.3).
        hadamard: a power of two: blocks of so many elements, along what a product sums over, are rounded in the basis of a
            Hadamard matrix H, to Q(x H) H^T. H is orthogonal: two operands that both have it give the product of Q(x H) and
            Q(w H). The identity format is left alone.
        hadamard_signs: the seed of random signs D, by which H is D H.
    """

    format: Format | str
    rounding: str = "nearest-even"
    scaling: Scaling | ScalingName = field(default="amax")
    overflow: Overflow = "saturate"
    straight_through: StraightThrough = "identity"
    nonfinite: Nonfinite = "auto"
    hadamard: int | None = None
    hadamard_signs: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.format, (Format, str)):
            raise FormatError(f"format is a {type(self.format).__name__}; expected a format or the name of one")
        if isinstance(self.scaling, str):
            object.__setattr__(self, "scaling", Scaling(self.scaling))
        if not isinstance(self.scaling, Scaling):
            raise FormatError(
                f"scaling is a {type(self.scaling).__name__}; expected a Scaling or none, amax or delayed"
            )
        _ = self.mode
        _one_of("overflow", self.overflow, get_args(Overflow))
        _one_of("straight_through", self.straight_through, get_args(StraightThrough))
        _one_of("nonfinite", self.nonfinite, get_args(Nonfinite))
        _check_hadamard(self)

    @cached_property
    def target(self) -> Format:
        """The format itself.

        Raises:
            FormatError: it is still a name.
        """
        if isinstance(self.format, str):
            raise FormatError(f'"{self.format}" is only a name here; pass load_format("{self.format}")')
        return self.format

    @cached_property
    def scale_rule(self) -> Scaling:
        """The scaling as a `Scaling`."""
        assert isinstance(self.scaling, Scaling)
        return self.scaling

    @cached_property
    def unrotated(self) -> Quantizer:
        """The same without the Hadamard transform."""
        return replace(self, hadamard=None, hadamard_signs=None)

    @property
    def has_grid(self) -> bool:
        """Whether values are rounded to rungs of their own: not by the identity, nor in the basis of a Hadamard transform."""
        return not self.target.is_identity and self.hadamard is None

    @cached_property
    def mode(self) -> Mode:
        """The facts of the rounding."""
        return mode_of(self.rounding)

    @cached_property
    def tiling(self) -> Tiling:
        """Which elements share a scale."""
        return self.scale_rule.tiling

    @cached_property
    def kept(self) -> dict[object, Any]:
        """What follows from it and is found once: the backends of operations, and what they need."""
        return {}

    def clip_bound(self, x: Tensor, scale: Tensor) -> Tensor | None:
        """The magnitude above which a clipped straight-through gradient is zero; None where it is not clipped."""
        if self.straight_through == "identity":
            return None
        return self.tiling.spread(scale, tuple(x.shape)) * self.target.largest


def check_own_scale(how: Quantizer) -> None:
    """Refuse delayed scaling, where there is only the tensor itself to take a scale from.

    Raises:
        FormatError: it is delayed.
    """
    if how.scale_rule.kind == "delayed":
        raise FormatError("delayed scaling needs a history from step to step: use quantize_model")


def _check_hadamard(how: Quantizer) -> None:
    size = how.hadamard
    if size is None and how.hadamard_signs is not None:
        raise FormatError(f"hadamard_signs = {how.hadamard_signs} needs hadamard, the size of the blocks")
    if size is not None and (size < 2 or size & (size - 1)):
        raise FormatError(f"hadamard = {size}: expected a power of two, such as 16")
    if size is not None and how.straight_through == "clipped":
        raise FormatError(
            'hadamard: with straight_through = "clipped" no element has a gradient of its own; use "identity"'
        )


def _one_of(what: str, got: str, choices: Any) -> None:
    if got not in choices:
        raise FormatError(f'no {what} "{got}"; one of {", ".join(choices)}')

"""How the scales of a tensor are chosen, so that x / scale uses the range of its format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from altgrad_core.errors import FormatError
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.tiling import Tiling

ScalingName = Literal["none", "amax", "delayed"]
ScaleRounding = Literal["up", "exact", "mx-floor"]
ScaleFormat = Literal["fp32", "e8m0", "e4m3"]
EXPONENT_LIMIT = 126  # of powers of two that are normal float32 numbers, and so are their inverses
E8M0_LIMIT = 127  # of the powers of two that E8M0 holds
E4M3 = Minifloat(exponent_bits=4, mantissa_bits=3, specials="fn", name="e4m3")  # of NVFP4's block scales


@dataclass(frozen=True)
class Scaling:
    """One scale for a tensor, or one for each of its tiles.

    Rows run along the last dimension, which of weight and activation is the contraction axis of the forward product.

    Attributes:
        kind: `none`: always 1. `amax`: from the largest finite magnitude, now. `delayed`: from the largest of the last
            `history` optimizer steps; the first use takes the current one.
        rounding: of scale = amax / largest. `up`: to a power of two, so nothing saturates. `exact`: not at all.
            `mx-floor`: OCP MX, 2 ** (floor(log2 amax) - floor(log2 largest)), which may saturate.
        history: optimizer steps that `delayed` looks back.
        margin: powers of two added to the scale, head-room for `delayed`.
        granularity: what shares a scale: `tensor`, `row`, `column`, `block:N`, N neighbours in a row (the last may be
            short), or `tile:RxC`, R rows by C columns (128x128 for weights and 1x128 for activations in DeepSeek-V3).
        scale_format: what a scale is stored in. `fp32`; `e8m0`, powers of two (OCP MX); `e4m3`, times a float32 scale
            of the whole tensor (NVFP4): `exact` then rounds to the nearest E4M3 value, `up` to the one above.
    """

    kind: ScalingName = "amax"
    rounding: ScaleRounding = "up"
    history: int = 16
    margin: int = 0
    granularity: str = "tensor"
    scale_format: ScaleFormat = "fp32"

    def __post_init__(self) -> None:
        _one_of("scaling", self.kind, ScalingName)
        _one_of("scale rounding", self.rounding, ScaleRounding)
        _one_of("scale format", self.scale_format, ScaleFormat)
        if type(self.history) is not int or self.history < 1:
            raise FormatError(f"scaling history is {self.history!r}; expected a whole number of steps, 1 or more")
        if type(self.margin) is not int or abs(self.margin) > EXPONENT_LIMIT:
            raise FormatError(
                f"scaling margin is {self.margin!r}; expected a whole number from -{EXPONENT_LIMIT} to {EXPONENT_LIMIT}"
            )
        Tiling.of(str(self.granularity))
        if (problem := self._contradiction()) is not None:
            raise FormatError(problem)

    def __str__(self) -> str:
        """The kind, and what is not as usual: `amax/exact/row`."""
        usual = Scaling(self.kind)
        others = (self.rounding, self.granularity, self.scale_format)
        parts = (
            mine
            for mine, its in zip(others, (usual.rounding, usual.granularity, usual.scale_format), strict=True)
            if mine != its
        )
        return "/".join([self.kind, *parts])

    def _contradiction(self) -> str | None:
        if self.granularity != "tensor" and self.kind == "delayed":
            return (
                f'delayed scaling knows the tensor of earlier steps, not its rows: granularity "{self.granularity}" '
                'goes with scaling "amax"'
            )
        if self.scale_format == "e8m0" and self.rounding == "exact":
            return 'scale format "e8m0" holds powers of two only: use scale rounding "up" or "mx-floor"'
        if self.scale_format == "e4m3" and (self.granularity == "tensor" or self.rounding == "mx-floor"):
            return 'scale format "e4m3" is for rows or blocks, with scale rounding "up" or "exact"'
        return None

    @property
    def exponent_limit(self) -> int:
        """The largest magnitude of the exponent of a scale."""
        return E8M0_LIMIT if self.scale_format == "e8m0" else EXPONENT_LIMIT

    @cached_property
    def tiling(self) -> Tiling:
        """Which elements share a scale."""
        return Tiling.of("tensor" if self.kind == "none" else str(self.granularity))


def _one_of(what: str, got: str, literal: object) -> None:
    if got not in get_args(literal):
        raise FormatError(f'no {what} "{got}"; one of {", ".join(get_args(literal))}')

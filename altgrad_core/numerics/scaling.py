"""How the scales of a tensor are chosen, so that x / scale uses the range of its format."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from altgrad_core.errors import FormatError
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.rounding import round_to_values

if TYPE_CHECKING:
    from torch import Tensor

ScalingName = Literal["none", "amax", "delayed"]
ScaleRounding = Literal["up", "exact", "mx-floor"]
ScaleFormat = Literal["fp32", "e8m0", "e4m3"]
GRANULARITY = r"^(tensor|row|block:[1-9][0-9]{0,8})$"
EXPONENT_LIMIT = 126  # of powers of two that are normal float32 numbers, and so are their inverses
E8M0_LIMIT = 127  # of the powers of two that E8M0 holds
E4M3 = Minifloat(exponent_bits=4, mantissa_bits=3, specials="fn", name="e4m3")  # of NVFP4's block scales


@dataclass(frozen=True)
class Scaling:
    """One scale for a tensor, or one for each row, or one for each block of a row.

    Rows run along the last dimension, which of weight and activation is the contraction axis of the forward product.

    Attributes:
        kind: `none`: always 1. `amax`: from the largest finite magnitude, now. `delayed`: from the largest of the last
            `history` optimizer steps; the first use takes the current one.
        rounding: of scale = amax / largest. `up`: to a power of two, so nothing saturates. `exact`: not at all.
            `mx-floor`: OCP MX, 2 ** (floor(log2 amax) - floor(log2 largest)), which may saturate.
        history: optimizer steps that `delayed` looks back.
        margin: powers of two added to the scale, head-room for `delayed`.
        granularity: what shares a scale: `tensor`, `row`, or `block:N`, N neighbours in a row (the last may be short).
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
        if self.history < 1:
            raise FormatError(f"scaling history is {self.history}; at least 1 step is needed")
        if not re.fullmatch(GRANULARITY, str(self.granularity)):
            raise FormatError(f'no granularity "{self.granularity}"; one of tensor, row, block:N, such as block:32')
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

    def block_of(self, length: int) -> int | None:
        """How many neighbours in a row of this length share a scale; None where the whole tensor shares one."""
        if self.granularity == "tensor" or self.kind == "none":
            return None
        return max(length, 1) if self.granularity == "row" else int(self.granularity.removeprefix("block:"))


def scale_for(amax: Tensor, largest: float, rule: Scaling) -> Tensor:
    """The scales for largest magnitudes.

    Args:
        amax: float32, any shape, of one tensor: one element for each scale. Zero (nothing, or nothing finite but zeros)
            counts as 1.
        largest: the format's largest finite magnitude.

    Returns:
        float32 of the shape of `amax`. Powers of two come from exponents and significands, never from a logarithm,
        which is one ulp wrong where it matters; their exponent is kept within +-126, for E8M0 within +-127.
    """
    if rule.kind == "none":
        return amax.new_ones(amax.shape)
    counted = amax.where(amax != 0, 1.0)
    if rule.scale_format == "e4m3" and amax.numel():
        return _two_level(amax, counted, largest, rule)
    return _one_level(counted, largest, rule)


def _one_level(amax: Tensor, largest: float, rule: Scaling) -> Tensor:
    import torch

    if rule.rounding == "exact":
        return _within_limits(amax.double() / largest * 2.0**rule.margin)
    significand, exponent = torch.frexp(amax)
    own_significand, own_exponent = math.frexp(largest)
    power = exponent - own_exponent + rule.margin
    if rule.rounding == "up":
        power = power + (significand > own_significand)
    limit = rule.exponent_limit
    biased = power.clamp(-limit, limit).to(torch.int32) + 127
    return torch.where(biased > 0, biased << 23, 1 << 22).view(torch.float32)  # 2 ** -127 is subnormal


def _two_level(amax: Tensor, counted: Tensor, largest: float, rule: Scaling) -> Tensor:
    """A float32 scale of the tensor times an E4M3 value of each block, the product as float32."""
    tensor_scale, factor, divisor = tensor_scale_for(amax.max(), largest, rule)
    wanted = counted.double() * factor / divisor
    rounding = "nearest-even" if rule.rounding == "exact" else "toward-positive"
    stored = round_to_values(wanted.clamp(min=E4M3.smallest_positive), E4M3.grid, rounding=rounding)
    return _within_limits(stored * tensor_scale)


def tensor_scale_for(amax: Tensor, largest: float, rule: Scaling) -> tuple[Tensor, float, Tensor]:
    """The scale of a tensor that goes with E4M3 scales of its blocks, so that these reach up to 448.

    Returns:
        The scale, float64 of shape (), and the two numbers that make an E4M3 scale of the amax of a block: it is
        amax * factor / divisor. Where scales are exact these are 448 and the amax of the tensor, not the scale that was
        rounded to float32: both products and the divisor are exact in float64, so that a tie of E4M3 stays one.
    """
    counted = amax.where(amax != 0, 1.0)
    scale = _one_level(counted, largest * E4M3.largest, rule).double()
    factor, divisor = 2.0**rule.margin, scale * largest
    if rule.rounding != "exact":
        return scale, factor, divisor
    inside = (scale > 2.0**-EXPONENT_LIMIT) & (scale < 2.0**EXPONENT_LIMIT)
    return scale, E4M3.largest, counted.double().where(inside, divisor * (E4M3.largest / factor))


def _within_limits(scale: Tensor) -> Tensor:
    limit = 2.0**EXPONENT_LIMIT
    return scale.float().clamp(1 / limit, limit)


def blocks_in(length: int, block: int) -> int:
    """How many scales a row of this length has."""
    return -(-length // block)


def spread(scale: Tensor, shape: tuple[int, ...], block: int | None) -> Tensor:
    """One scale for each element, by broadcasting where that will do: the scales of blocks beside their elements."""
    if block is None or scale.ndim == 0 or scale.shape[-1] == 1:
        return scale
    return scale.repeat_interleave(block, dim=-1)[..., : shape[-1]]


def _one_of(what: str, got: str, literal: object) -> None:
    if got not in get_args(literal):
        raise FormatError(f'no {what} "{got}"; one of {", ".join(get_args(literal))}')

"""The scales that go with largest magnitudes, as a `Scaling` defines them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from altgrad_core.numerics.rounding import round_to_values
from altgrad_core.numerics.scaling import E4M3, EXPONENT_LIMIT, Scaling

if TYPE_CHECKING:
    from torch import Tensor

Number = TypeVar("Number", bound=Any)


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
    return one_level(counted, largest, rule)


def one_level(amax: Tensor, largest: float, rule: Scaling) -> Tensor:
    """The scales for largest magnitudes that are not zero, each by itself."""
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
    target = counted.double() * factor / divisor
    rounding = "nearest-even" if rule.rounding == "exact" else "toward-positive"
    stored = round_to_values(target.clamp(min=E4M3.smallest_positive), E4M3.grid, rounding=rounding)
    return _within_limits(stored * tensor_scale)


def tensor_scale_for(amax: Tensor, largest: float, rule: Scaling) -> tuple[Tensor, float, Tensor]:
    """The scale of a tensor that goes with E4M3 scales of its blocks, so that these reach up to 448.

    Returns:
        The scale, float64 of shape (), and the factor and divisor of `e4m3_quotient`.
    """
    import torch

    counted = amax.where(amax != 0, 1.0)
    scale = one_level(counted, largest * E4M3.largest, rule).double()
    return scale, *e4m3_quotient(scale, counted.double(), largest, rule, torch.where)


def e4m3_quotient(
    scale: Number, amax: Number, largest: float, rule: Scaling, choose: Callable[[Any, Number, Number], Number]
) -> tuple[float, Number]:
    """The two numbers that make an E4M3 scale of the amax of a block: it is amax * factor / divisor.

    Where scales are exact these are 448 and the amax of the tensor, not the scale that was rounded to float32: both
    products and the divisor are exact in float64, so that a tie of E4M3 stays one.

    Args:
        scale, amax: of the tensor, not zero; numbers, or float64 tensors of shape ().
        choose: `choose(condition, one, other)` for such numbers.
    """
    factor, divisor = 2.0**rule.margin, scale * largest
    if rule.rounding != "exact":
        return factor, divisor
    is_inside = (scale > 2.0**-EXPONENT_LIMIT) & (scale < 2.0**EXPONENT_LIMIT)
    return E4M3.largest, choose(is_inside, amax, divisor * (E4M3.largest / factor))


def _within_limits(scale: Tensor) -> Tensor:
    limit = 2.0**EXPONENT_LIMIT
    return scale.float().clamp(1 / limit, limit)

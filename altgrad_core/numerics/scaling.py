"""How the scale of a tensor is chosen, so that x / scale uses the range of its format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from altgrad_core.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor

ScalingName = Literal["none", "amax", "delayed"]
ScaleRounding = Literal["up", "exact", "mx-floor"]
EXPONENT_LIMIT = 126


@dataclass(frozen=True)
class Scaling:
    """One scale per tensor.

    Attributes:
        kind: `none`: always 1. `amax`: the largest finite magnitude of this tensor, now. `delayed`: the largest amax
            of the last `history` optimizer steps; the first use takes the current one.
        rounding: of scale = amax / largest. `up`: to a power of two, so nothing saturates. `exact`: not at all.
            `mx-floor`: OCP MX, 2 ** (floor(log2 amax) - floor(log2 largest)), which may saturate.
        history: optimizer steps that `delayed` looks back.
        margin: powers of two added to the scale, head-room for `delayed`.
    """

    kind: ScalingName = "amax"
    rounding: ScaleRounding = "up"
    history: int = 16
    margin: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScalingName):
            raise FormatError(f'no scaling "{self.kind}"; one of {", ".join(get_args(ScalingName))}')
        if self.rounding not in get_args(ScaleRounding):
            raise FormatError(f'no scale rounding "{self.rounding}"; one of {", ".join(get_args(ScaleRounding))}')
        if self.history < 1:
            raise FormatError(f"scaling history is {self.history}; at least 1 step is needed")


def scale_for(amax: Tensor, largest: float, *, rounding: str = "up", margin: int = 0) -> Tensor:
    """The scale for a largest magnitude.

    Args:
        amax: float32, any shape; zero (nothing, or nothing finite but zeros) counts as 1.
        largest: the format's largest finite magnitude.

    Returns:
        float32 of the shape of `amax`. Powers of two come from exponents and significands, never from a logarithm,
        which is one ulp wrong where it matters; their exponent is kept within +-126.
    """
    import torch

    amax = torch.where(amax == 0, torch.ones_like(amax), amax)
    if rounding == "exact":
        limit = 2.0**EXPONENT_LIMIT
        return (amax.double() / largest * 2.0**margin).to(torch.float32).clamp(1 / limit, limit)
    significand, exponent = torch.frexp(amax)
    own_significand, own_exponent = math.frexp(largest)
    power = exponent - own_exponent + margin
    if rounding == "up":
        power = power + (significand > own_significand)
    biased = power.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).to(torch.int32) + 127
    return (biased << 23).view(torch.float32)

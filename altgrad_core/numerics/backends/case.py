"""A case that a backend may support."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.tiling import Tiling

if TYPE_CHECKING:
    from torch import dtype

Operation = Literal[
    "quantize", "encode", "decode", "amax", "scale", "key",
    "rung", "position", "value", "spacing", "movement",
    "walk", "adam_walk", "stochastic_walk", "update_velocity",
]  # fmt: skip
WHOLE = Tiling.of("tensor")


class Case(NamedTuple):
    """An operation on a tensor.

    Attributes:
        device: the type of the device: `cpu`, `cuda`, ...
        is_contiguous: whether the elements lie side by side in memory.
        grids: all formats whose rungs are asked for; none where only the magnitudes matter.
        rounding, nonfinite: of the quantizer, where there is one.
        tiling: which elements share a scale.
    """

    operation: Operation
    device: str
    dtype: dtype
    is_contiguous: bool
    grids: tuple[Format, ...] = ()
    rounding: str = "nearest-even"
    nonfinite: str = "auto"
    tiling: Tiling = WHOLE

"""The shape of a quantized tensor's number line: spacing, rung position and its inverse, at the scale in force."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from altgrad_core.numerics import ops
from altgrad_core.numerics.checks import check_kind
from altgrad_core.numerics.line import floored
from altgrad_core.numerics.moves import Path
from altgrad_core.numerics.rounding import grid_tensor
from altgrad_core.numerics.sharded import gathered, is_sharded, own, part_of, placed

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.format import Format


class Source(Protocol):
    """What a geometry is a view of: something that has a format and a scale, now."""

    @property
    def format(self) -> Format: ...

    @property
    def scales(self) -> Tensor: ...

    def fix_scale(self) -> None: ...


@dataclass(frozen=True)
class Fixed:
    """A format at scales that never change; they broadcast to the tensor."""

    format: Format
    scales: Tensor

    def fix_scale(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Part:
    """What a process sees of the source of a sharded tensor."""

    whole: Source
    like: Tensor

    @property
    def format(self) -> Format:
        """That of all parts."""
        return self.whole.format

    @property
    def scales(self) -> Tensor:
        """Those of the elements of this part."""
        return part_of(self.whole.scales, self.like)

    def fix_scale(self) -> None:
        """Of all parts."""
        self.whole.fix_scale()


class Geometry:
    """A live view of the grid of one tensor: the format's rungs times the scale of the last forward pass.

    Rung 0 is zero; rungs count upwards and downwards from there. Positions are float64, values float32. Of a sharded
    tensor, a DTensor, positions and values are sharded in the same way.
    """

    def __init__(self, source: Source, *, floor: int | None = None) -> None:
        self._source, self._floor = source, floor

    @classmethod
    def of(cls, format: Format, scale: Tensor | float = 1.0) -> Geometry:
        """The geometry of a format at a fixed scale, or at scales that broadcast to the tensor.

        Raises:
            FormatError: `format` is none.
        """
        import torch

        from altgrad_core.numerics.format import Format

        check_kind("Geometry.of", "format", format, Format, 'a format, as load_format("e4m3")')
        return cls(Fixed(format, torch.as_tensor(scale, dtype=torch.float32)))

    @property
    def format(self) -> Format:
        """The format in force."""
        return self._source.format

    def floored(self, binades: int) -> Geometry:
        """The same view, with positions along a line on which no spacing is below that `binades` below the top.

        Raises:
            FormatError: the format has no binades of both signs; also later, after a switch to such a format.
        """
        view = Geometry(self._source, floor=binades)
        _ = view.line
        return view

    def part(self, like: Tensor) -> Geometry:
        """The same view, of the elements that this process has of a sharded tensor."""
        return Geometry(Part(self._source, like), floor=self._floor)

    @property
    def floor(self) -> int | None:
        """See `floored`; None: positions are measured along the rungs of the format."""
        return self._floor

    @property
    def line(self) -> Format:
        """What positions, values and spacing are measured along: the rungs of the format, unless there is a floor."""
        return self.format if self._floor is None else floored(self.format, self._floor)

    @property
    def scale(self) -> Tensor:
        """The scale in force of every element, float32 of shape (), or of one that broadcasts to the tensor's."""
        return self._source.scales

    @property
    def path(self) -> Path:
        """What a move of a weight must know: the line, the format and the scale in force."""
        return Path(self.line, self.format, self.scale)

    def fix_scale(self) -> None:
        """For weights that live on the grid itself: keep the scale from now on, with one binade of headroom.

        Forward passes then use it too, so a weight on the grid is left as it is. Without scaling there is no headroom.
        """
        self._source.fix_scale()

    @property
    def rungs_per_binade(self) -> int | None:
        """The rungs in (largest / 2, largest], or None where the format has no mantissa bits.

        It is 2 ** mantissa bits for every format with exponent bits, and the same for E0M7 and E1M6, which are one grid.
        """
        return _rungs_per_binade(self.format)

    @property
    def lowest_rung(self) -> int:
        """The number of the lowest rung: zero or negative."""
        return -self.format.grid.origin

    @property
    def highest_rung(self) -> int:
        """The number of the highest rung."""
        return len(self.format.grid) - 1 - self.format.grid.origin

    def facts(self) -> dict[str, Any]:
        """Plain data for a fused kernel: the grid's values (float64 tensor), the origin and the scale."""
        format, scale = self.format, self.scale
        return {"values": grid_tensor(format.grid, scale.device), "origin": format.grid.origin, "scale": scale}

    def rung(self, w: Tensor) -> Tensor:
        """The number of the nearest rung, ties to even; int32, of the shape of `w`."""
        if is_sharded(w):
            return placed(self.part(w).rung(own(w)), w)
        return ops.rung(w, self.format, self.scale)

    def position(self, w: Tensor) -> Tensor:
        """u(w): the rung number, linearly interpolated, continued beyond the ends with the last gap; float64.

        w / scale is taken in float64: where the scale is not a power of two, its float32 quotient would be half an ulp off.
        """
        if is_sharded(w):
            return placed(self.part(w).position(own(w)), w)
        return ops.position(w, self.line, self.scale)

    def value(self, u: Tensor) -> Tensor:
        """The inverse of `position`, float32, of the shape of `u`."""
        if is_sharded(u):
            return placed(self.part(u).value(own(u)), u)
        return ops.value(u, self.line, self.scale)

    def spacing(self, w: Tensor) -> Tensor:
        """S(w): the width of the cell that holds w, on a grid point that of the cell away from zero; float32."""
        if is_sharded(w):
            return placed(self.part(w).spacing(own(w)), w)
        return ops.spacing(w, self.line, self.scale)

    def movement(self, before: Tensor, after: Tensor, gradient: Tensor) -> Tensor:
        """What one step did to a weight: flips, updates, flips among updates, and elements; int64, shape (4,).

        An update is an element whose gradient is not zero; a flip is one whose nearest rung differs after the step. A
        weight that has a NaN after the step has no rungs: all four are 0.

        Args:
            before: the weight before the step, looked at at the same scale as after it.
            after: of the same shape.
            gradient: of the same shape.

        Raises:
            FormatError: another shape, or a type other than float.
        """
        return ops.movement(gathered(before), gathered(after), gathered(gradient), self.format, self.scale)


@lru_cache(maxsize=256)
def _rungs_per_binade(format: Format) -> int | None:
    if format.mantissa_bits is None:
        return None
    return len(format.grid) - bisect_right(format.grid.values, format.grid.highest / 2)

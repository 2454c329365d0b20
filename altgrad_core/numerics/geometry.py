"""The shape of a quantized tensor's number line: spacing, rung position and its inverse, at the scale in force."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from altgrad_core.numerics import kernels
from altgrad_core.numerics.line import floored
from altgrad_core.numerics.rounding import grid_tensor, round_to_index

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.format import Format
    from altgrad_core.numerics.grid import Grid


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


class Geometry:
    """A live view of the grid of one tensor: the format's rungs times the scale of the last forward pass.

    Rung 0 is zero; rungs count upwards and downwards from there. Positions are float64, values float32.
    """

    def __init__(self, source: Source, *, floor: int | None = None) -> None:
        self._source, self._floor = source, floor

    @classmethod
    def of(cls, format: Format, scale: Tensor | float = 1.0) -> Geometry:
        """The geometry of a format at a fixed scale, or at scales that broadcast to the tensor."""
        import torch

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

    @property
    def line(self) -> Format:
        """What positions, values and spacing are measured along: the rungs of the format, unless there is a floor."""
        return self.format if self._floor is None else floored(self.format, self._floor)

    def walks(self, w: Tensor) -> bool:
        """Whether `w` can be moved by the compiled path."""
        is_known = kernels.is_arithmetic(self.format) and (self._floor is None or kernels.is_arithmetic(self.line))
        return is_known and kernels.moves(w)

    @property
    def scale(self) -> Tensor:
        """The scale in force of every element, float32 of shape (), or of one that broadcasts to the tensor's."""
        return self._source.scales

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
        import torch

        format, scale = self.format, self.scale
        if kernels.walks(w, format):
            return kernels.nearest_rung(w, format, scale=scale)
        return (round_to_index(_scaled(w, scale), format.grid) - format.grid.origin).to(torch.int32)

    def position(self, w: Tensor) -> Tensor:
        """u(w): the rung number, linearly interpolated, continued beyond the ends with the last gap; float64."""
        line, scale = self.line, self.scale
        if kernels.walks(w, line):
            return kernels.position(w, line, scale=scale)
        values, gaps = grid_tensor(line.grid, w.device), _gaps(line.grid, w.device)
        scaled = _scaled(w, scale).double()
        cell = _cell(scaled, values)
        anchor = cell + (scaled < 0)  # the end of the cell nearer to zero: tiny values keep their digits
        return (anchor - line.grid.origin) + (scaled - values[anchor]) / gaps[cell]

    def value(self, u: Tensor) -> Tensor:
        """The inverse of `position`, float32, of the shape of `u`."""
        import torch

        line, scale = self.line, self.scale
        u = u.double()
        if u.device.type == "cpu" and kernels.walks(torch.empty(0, dtype=torch.float32, device="cpu"), line):
            return kernels.value_at(u, line, scale=scale)
        values, gaps = grid_tensor(line.grid, u.device), _gaps(line.grid, u.device)
        cell = (u.floor().long() + line.grid.origin).clamp(0, len(gaps) - 1)
        anchor = cell + (u < 0)
        return ((values[anchor] + (u - (anchor - line.grid.origin)) * gaps[cell]) * scale.double()).float()

    def spacing(self, w: Tensor) -> Tensor:
        """S(w): the width of the cell that holds w, on a grid point that of the cell away from zero; float32."""
        import torch

        line, scale = self.line, self.scale
        if kernels.walks(w, line):
            return kernels.spacing(w, line, scale=scale)
        values, gaps = grid_tensor(line.grid, w.device), _gaps(line.grid, w.device)
        scaled = _scaled(w, scale).double()
        away_below = (torch.searchsorted(values, scaled.contiguous()) - 1).clamp(0, len(gaps) - 1)
        cell = torch.where(scaled < 0, away_below, _cell(scaled, values))
        return (gaps[cell] * scale.double()).float()


@lru_cache(maxsize=256)
def _rungs_per_binade(format: Format) -> int | None:
    if format.mantissa_bits is None:
        return None
    return len(format.grid) - bisect_right(format.grid.values, format.grid.highest / 2)


def _scaled(w: Tensor, scale: Tensor) -> Tensor:
    return w.detach().float() / scale


def _cell(scaled: Tensor, values: Tensor) -> Tensor:
    """The index of the grid value at or below, kept within the cells."""
    import torch

    return (torch.searchsorted(values, scaled.contiguous(), right=True) - 1).clamp(0, len(values) - 2)


@lru_cache(maxsize=256)
def _gaps(grid: Grid, device: object) -> Tensor:
    """Distances between neighbouring values, float64 of shape (rungs - 1,)."""
    return grid_tensor(grid, device).diff()

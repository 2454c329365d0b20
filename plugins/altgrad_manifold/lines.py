"""The line that a weight is stepped along where that is not its own grid: the rungs of another format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from altgrad_core import Format, FormatError, Geometry, Quantizer, gathered, scale_of


def lines_of(
    format: Format, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]
) -> dict[Tensor, Geometry]:
    """The line of one format for every matrix, quantized or not.

    Args:
        groups: parameter groups as torch takes them; parameters of fewer than two dimensions get no line.
        geometry: the live grid of every quantized weight.

    Raises:
        FormatError: the format is the identity.
    """
    if format.is_identity:
        raise FormatError(f'"{format.name}" is the identity: it has no grid to step along')
    matrices = [p for group in groups for p in group["params"] if p.dim() >= 2]
    return {p: Geometry(Overlay(p, format, geometry.get(p))) for p in matrices}


class Overlay:
    """A format laid over a weight.

    While the weight's own grid is of this format, the scale is the one in force there. Otherwise it is amax / largest,
    rounded up to a power of two, of the weight as it is when asked: the scale that a quantizer with the default
    scaling would use.
    """

    def __init__(self, weight: Tensor, format: Format, own: Geometry | None) -> None:
        self.format = format
        self._weight, self._own, self._quantizer = weight, own, Quantizer(format)

    @property
    def scales(self) -> Tensor:
        """Float32 of shape (), or what the own grid has."""
        if self._own is not None and self._own.format == self.format:
            return self._own.scale
        magnitude = self._weight.detach().float().abs()
        return scale_of(gathered(magnitude.where(magnitude.isfinite(), 0.0).amax()), self._quantizer)

    def fix_scale(self) -> None:
        """Nothing lives on this line, so its scale is never fixed.

        Raises:
            FormatError: always.
        """
        raise FormatError(
            f'the line of "{self.format.name}" is laid over the weight again each step: its scale cannot be fixed'
        )

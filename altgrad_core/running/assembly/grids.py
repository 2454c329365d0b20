"""The grids that an optimizer is given: to look for that of a weight which has none of its own is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from altgrad_core.errors import ManifestError
from altgrad_core.numerics.geometry import Geometry


class Grids(Mapping[Tensor, Geometry]):
    """The live grid of every quantized weight.

    Args:
        rotated: weights that are rounded after a Hadamard transform, by path. An optimizer that asks for one of them steps along
            grids, and is refused while it is built; one that asks for none trains them.
        optimizer: its name.
    """

    def __init__(self, grids: Mapping[Tensor, Geometry], rotated: Mapping[Tensor, str], optimizer: str) -> None:
        self._grids, self._rotated, self._optimizer = dict(grids), rotated, optimizer

    def __getitem__(self, weight: Tensor) -> Geometry:
        if weight in self._rotated:
            raise ManifestError(
                f"{self._optimizer} steps along the grid of a weight, and {self._rotated[weight]} is rounded after a Hadamard "
                "transform, in another basis: choose another optimizer, such as adamw, or leave hadamard out of the weight"
            )
        return self._grids[weight]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._grids)

    def __len__(self) -> int:
        return len(self._grids)

"""Rank: how many directions the weights use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from altgrad_core import Monitor, Readings, Updated, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class StableRank(Monitor):
    """Stable rank of every watched weight, measured after the update.

    |W|_F^2 / |W|_2^2, at least 1 and at most the rank; 0 for a zero matrix (Rudelson and Vershynin, 2007). The spectral
    norm comes from power iteration that starts where the last report ended; `iterations` bounds its work.
    """

    name: ClassVar = "stable-rank"
    every: PositiveInt = 100
    iterations: PositiveInt = 50

    _vectors: dict[str, Tensor] = {}

    def observe(self, event: Updated) -> Readings:
        """The stable rank by layer; a weight with NaN or infinities is left out."""
        from altgrad_rank.stable_rank import stable_rank

        readings = {}
        for weight in event.weights(self.layers):
            rank, vector = stable_rank(weight.after, start=self._vectors.get(weight.path), iterations=self.iterations)
            if vector is not None:
                self._vectors[weight.path] = vector
            if rank is not None:
                readings[weight.path] = rank
        return readings


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitor of this package."""
    yield StableRank

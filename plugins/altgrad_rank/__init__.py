"""Rank: how many directions the weights use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pydantic import PositiveInt

from altgrad_core import Monitor, Readings, Updated, hookimpl


class StableRank(Monitor):
    """Stable rank of every watched weight, measured after the update.

    |W|_F^2 / |W|_2^2, at least 1 and at most the rank; 0 for a zero matrix (Rudelson and Vershynin, 2007). A weight with
    NaN or infinities is left out.
    """

    name: ClassVar = "stable-rank"
    every: PositiveInt = 100

    def observe(self, event: Updated) -> Readings:
        """The stable rank by layer."""
        from altgrad_rank.stable_rank import stable_rank

        ranks = {weight.path: stable_rank(weight.after) for weight in event.weights(self.layers)}
        return {path: rank for path, rank in ranks.items() if rank is not None}


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitor of this package."""
    yield StableRank

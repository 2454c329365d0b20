"""Rank: how many directions the weights use."""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_core import Monitor, hookimpl
from altgrad_rank.monitors import RankDrop, SingularValues, StableRank

__all__ = ["RankDrop", "SingularValues", "StableRank", "altgrad_monitors"]


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitors of this package."""
    yield from (StableRank, SingularValues, RankDrop)

"""Movement: whether weights move at all, how far and whether to and fro, in rungs of their own grid."""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_core import Monitor, hookimpl
from altgrad_movement.counting import Flips, Reversals, Updates
from altgrad_movement.displacement import Displacement

__all__ = ["Displacement", "Flips", "Reversals", "Updates", "altgrad_monitors"]


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitors of this package."""
    yield from (Flips, Updates, Reversals, Displacement)

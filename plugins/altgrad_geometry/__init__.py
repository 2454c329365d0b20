"""Geometry: where weights lie on their own grids, and in which space the optimizer's steps are uniform."""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_core import Monitor, hookimpl
from altgrad_geometry.directions import BitSpace, GradientStiffness
from altgrad_geometry.places import CodeUse, GridAlignment, Stiffness


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitors of this package."""
    yield Stiffness
    yield GridAlignment
    yield GradientStiffness
    yield CodeUse
    yield BitSpace

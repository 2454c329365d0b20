"""What a switch of formats changed."""

from __future__ import annotations

from typing import NamedTuple

from altgrad_core.contracts.actions import Role


class Switch(NamedTuple):
    """One operand that changed its format."""

    layer: str
    role: Role
    before: str
    after: str

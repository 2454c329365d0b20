"""Operands move to another format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from altgrad_core.contracts.actions import ROLES, Role
from altgrad_core.errors import FormatError, ManifestError
from altgrad_core.numerics.format import Format
from altgrad_core.running.model.layers import Layer
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.recipe import unmatched


class Switch(NamedTuple):
    """One operand that went from one format to another."""

    layer: str
    role: Role
    before: str
    after: str


def check_switch(known: Mapping[str, Layer], pattern: str, role: Any, to: Any) -> None:
    """Whether layers, role and formats of a switch can be meant.

    Raises:
        ManifestError: they cannot.
    """
    problem = unmatched(pattern, [path for layer in known.values() for path in layer.paths])
    if role not in ROLES:
        problem = f'there is no role "{role}"; the roles are: {", ".join(ROLES)}'
    if not isinstance(to, str | Mapping):
        problem = f'to is a {type(to).__name__}; expected the name of a format, such as "e5m2", or a table of names'
    if problem is not None:
        raise ManifestError(f"switch: {problem}")


def switched(operands: Iterable[Operand], to: str | Mapping[str, str], find: Callable[[str], Format]) -> list[Switch]:
    """Move operands to a format, or each to that of its present one; what changed."""
    result = []
    for operand in operands:
        name = to if isinstance(to, str) else to.get(operand.format.name)
        if name is None:
            continue
        format = find(name)
        if format.is_identity:
            raise FormatError(f'"{name}" is the identity: nothing can be switched to it')
        if operand.format != format:
            result.append(Switch(operand.path, operand.role, operand.format.name, format.name))
            operand.switch(format)
    return result

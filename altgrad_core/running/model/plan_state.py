"""The saved state of a plan, put back into its operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import AltgradError, RunError
from altgrad_core.numerics.format import Format
from altgrad_core.running.model.operand import Operand


def restore(
    layers: Mapping[str, Mapping[Role, Operand]], state: Mapping[str, Any], find: Callable[[str], Format]
) -> int:
    """Put back the state of every operand; the step that it belongs to.

    Args:
        state: of a plan.
        find: a format by its name.

    Raises:
        RunError: it is none, of another plan, or names a format that is not installed or is another one here.
    """
    if not isinstance(state.get("operands"), Mapping) or not isinstance(state.get("step"), int):
        raise RunError("this is no state of a plan; pass what plan.state_dict() returned")
    saved: Mapping[str, Any] = state["operands"]
    ours = {(path, role) for path, operands in layers.items() for role in operands}
    theirs = {(path, role) for path, roles in saved.items() for role in roles}
    if ours != theirs:
        path, role = sorted(ours ^ theirs)[0]
        raise RunError(f"the saved plan is of another recipe: they differ in the {role} of {path}")
    for path, roles in saved.items():
        for role, own in roles.items():
            layers[path][role].load_state_dict(own, _format(own["format"], find, f"the {role} of {path}"))
    return int(state["step"])


def _format(facts: dict[str, Any], find: Callable[[str], Format], where: str) -> Format:
    try:
        format = find(facts["name"])
    except AltgradError as error:
        raise RunError(f"the saved plan has {where} in a format that is missing: {error}") from None
    if format.facts() != facts:
        raise RunError(f"the saved plan has {where} in {facts}, but that format is {format.facts()} here")
    return format

"""What a plan warns of."""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_core.running.model.coverage import Coverage
from altgrad_core.running.model.operand import Operand

LEAST_COVERED, MOST_LISTED = 0.5, 8


def thin(found: Coverage) -> str | None:
    """What is said where a rule says `*` and yet less than half of the matrices is quantized."""
    if found.matrices >= LEAST_COVERED:
        return None
    return f'layers = "*" covers {found.matrices:.1%} of the matrices of this model.\n{found}'


def unused(operands: Iterable[Operand], trained: Iterable[str]) -> str | None:
    """What is said where the first step did not round an operand; gradients only of the layers that are trained."""
    listed, layers = list(operands), set(trained)
    missing = [
        f"{operand.role} of {operand.path}"
        for operand in listed
        if not operand.is_used and (operand.role != "gradient" or operand.path in layers)
    ]
    if not missing or not any(operand.is_used for operand in listed):
        return None
    more = f" and {len(missing) - MOST_LISTED} more" if len(missing) > MOST_LISTED else ""
    named = ", the ".join(missing[:MOST_LISTED])
    return f"the first step did not round what the recipe lists: the {named}{more}; their layers are not called in training"

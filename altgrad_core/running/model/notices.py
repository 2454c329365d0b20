"""What a plan warns of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from altgrad_core.contracts.actions import BACKWARD, MOMENTS
from altgrad_core.running.model.coverage import Coverage
from altgrad_core.running.model.operand import Operand

LEAST_COVERED, MOST_LISTED = 0.5, 8


def thin(result: Coverage) -> str | None:
    """What is said where a rule says `*` and yet less than half of the matrices is quantized."""
    if result.matrices >= LEAST_COVERED:
        return None
    return f'layers = "*" covers {result.matrices:.1%} of the matrices of this model.\n{result}'


class StepNotices:
    """What is said of a step, each at most once."""

    def __init__(self) -> None:
        self._is_first, self._is_told = True, False

    def of(self, operands: Sequence[Operand], trained: Iterable[str], *, is_skipped: bool) -> Iterator[str]:
        """What is to be said of a step that is over.

        Args:
            trained: the layers whose weights are.
            is_skipped: whether the optimizer left it out.
        """
        if self._is_first and (problem := unused(operands, trained)) is not None:
            yield problem
        self._is_first = False
        if not (is_skipped or self._is_told) and (problem := unrounded_moments(operands)) is not None:
            self._is_told = True
            yield problem


def unused(operands: Iterable[Operand], trained: Iterable[str]) -> str | None:
    """What is said where the first step did not round an operand; gradients only of the layers that are trained."""
    listed, layers = [operand for operand in operands if operand.role not in MOMENTS], set(trained)
    missing = [
        f"{operand.role} of {operand.path}"
        for operand in listed
        if not operand.is_used and (operand.role not in BACKWARD or operand.path in layers)
    ]
    if not missing or not any(operand.is_used for operand in listed):
        return None
    return f"the first step did not round what the recipe lists: {_named(missing)}; their layers are not called in training"


def unrounded_moments(operands: Iterable[Operand]) -> str | None:
    """What is said where a recipe lists moments and an optimizer step rounded none of them, or never a second one."""
    listed = [operand for operand in operands if operand.role in MOMENTS]
    if not listed:
        return None
    if not any(operand.is_seen for operand in listed):
        return (
            f"the step rounded no moments, though the recipe lists {_named([f'{o.role} of {o.path}' for o in listed])}: "
            "call plan.attach(optimizer) once"
        )
    firsts = {o.path: o.quantizer for o in listed if o.role == "moment" and o.is_used}
    seconds = [o for o in listed if o.role == "second_moment" and not o.is_used]
    missing = [f"second_moment of {o.path}" for o in seconds if firsts.get(o.path, o.quantizer) != o.quantizer]
    return f"the optimizer keeps no second moment, though the recipe lists {_named(missing)}" if missing else None


def _named(missing: list[str]) -> str:
    more = f" and {len(missing) - MOST_LISTED} more" if len(missing) > MOST_LISTED else ""
    return f"the {', the '.join(missing[:MOST_LISTED])}{more}"

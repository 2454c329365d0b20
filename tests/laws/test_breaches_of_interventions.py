"""The test of the tests: each law of interventions, and a plugin that breaks it."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import pytest

from altgrad_core import (
    ClipGradients,
    Intervention,
    ScaleLearningRate,
    Stop,
)
from altgrad_core.testing import (
    check_intervention,
)
from tests.laws.breaches import said


class Guard(Intervention):
    """Stops when the number is large."""

    name: ClassVar = "guard"
    reads: ClassVar = "largest"
    acts: ClassVar = (Stop,)

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        if any(value > 5 for value in readings.values()):
            yield Stop(because="large")


class Oversteps(Guard):
    """Changes the rate."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        yield ScaleLearningRate(factor=0.5, because="why not")


class Unreasoned(Guard):
    """Gives no reason."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        yield Stop(because=" ")


class Wild(Guard):
    """Scales by what it reads."""

    acts: ClassVar = (ScaleLearningRate,)

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        yield ScaleLearningRate(factor=float(max(readings.values())), because="so it was read")


class Guesses(Guard):
    """Throws a coin."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        if random.random() < 0.5:
            yield Stop(because="heads")


class AssumesLayers(Guard):
    """Thinks that every layer is there every time."""

    _last: dict[str, float] = {}

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        self._last = dict(readings) if not self._last else self._last
        if sum(readings[layer] for layer in self._last) > 5:
            yield Stop(because="large")


class CountsOutside(Guard):
    """Counts in a place that is not saved."""

    seen: ClassVar[dict[int, list[Any]]] = {}

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        kept = self.seen.setdefault(id(self), [0, self])
        kept[0] += 1
        if kept[0] == 21:
            yield Stop(because="twenty")


class Clears(Guard):
    """Empties what it is given."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        readings.clear()
        return ()


class TooLate(Guard):
    """Clips after the update."""

    reads: ClassVar = "validation-loss"
    acts: ClassVar = (ClipGradients,)


class DeclaresNothing(Guard):
    """Declares no action."""

    acts: ClassVar = ()


class ReadsNothing(Guard):
    """Reads several readings, and names none."""

    reads: ClassVar = ()


class Impatient(Guard):
    """Waits for nothing."""

    patience: int = 0


class Quarrelsome(Guard):
    """Wants to be alone."""

    def contradicts(self, other: Intervention) -> str | None:
        return "two are too many"


@pytest.mark.parametrize(
    ("intervention", "breach"),
    [
        (
            Oversteps,
            "ScaleLearningRate(because='why not', factor=0.5, layer='*', reversing=None) at step 1 of zeros for *; it declares Stop.",
        ),
        (Unreasoned, "Stop(because=' ', diverged=False), at step 1 of zeros for *, has no reason: because is empty."),
        (
            Wild,
            "It raised ValueError: factor is nan; expected a finite number, 0 or more (at step 1, asked about {'*': nan})",
        ),
        (Guesses, "On zeros for * it moved random's global generator."),
        (AssumesLayers, "It raised KeyError: 'blocks.1' (at step 2, asked about {'blocks.2': 0.0})"),
        (
            CountsOutside,
            "Saved after 7 readings of zeros for * it decided [(28, Stop(because='twenty', diverged=False))], expected "
            "[(21, Stop(because='twenty', diverged=False))].",
        ),
        (Clears, "It changed those of zeros for *."),
        (TooLate, "ClipGradients comes too late after validation-loss."),
        (DeclaresNothing, "acts is (); expected a tuple such as (Stop,)."),
        (ReadsNothing, "reads is (); expected the name of a reading, such as validation-loss, or a tuple of several."),
        (Impatient, "It waits for 0 readings."),
        (Quarrelsome, "It contradicts its copy: two are too many."),
    ],
)
def test_an_intervention_with_one_fault_is_caught(intervention: type[Intervention], breach: str) -> None:
    message = said(check_intervention, intervention)
    if intervention is Guesses:  # whichever it notices first
        assert "The same readings give the same actions, and no shared random generator moves." in message
    else:
        assert message.startswith('intervention "guard", law: ') and message.endswith(breach)


def test_a_sound_intervention_passes() -> None:
    check_intervention(Guard)

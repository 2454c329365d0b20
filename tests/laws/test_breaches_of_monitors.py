"""The test of the tests: each law of monitors, and a plugin that breaks it."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import pytest

from altgrad_core import (
    Began,
    Monitor,
    Updated,
)
from altgrad_core.testing import (
    check_monitor,
)
from tests.laws.breaches import said


class Largest(Monitor):
    """Largest weight by layer."""

    name: ClassVar = "largest"

    def observe(self, event: Any) -> Any:
        return {w.path: float(w.after.abs().max()) for w in event.weights(self.layers)}


class Writes(Largest):
    """Writes to a weight."""

    def observe(self, event: Any) -> Any:
        for weight in event.weights(self.layers):
            weight.after[0, 0] = 0.0
        return super().observe(event)


class Rolls(Largest):
    """Draws a random number."""

    def observe(self, event: Any) -> Any:
        random.random()
        return super().observe(event)


class LooksEverywhere(Largest):
    """Ignores layers."""

    def observe(self, event: Any) -> Any:
        return {w.path: 1.0 for w in event.weights("*")}


class Invents(Largest):
    """Invents a layer."""

    def observe(self, event: Any) -> Any:
        return {"attic": 1.0}


class Undeclared(Largest):
    """Reports what it does not declare."""

    def observe(self, event: Any) -> Any:
        return {"surprise": {"*": 1.0}}


class Wordy(Largest):
    """Reports words."""

    def observe(self, event: Any) -> Any:
        return {"*": "much"}


class Mute(Largest):
    """Reports nothing."""

    def observe(self, event: Any) -> Any:
        return {}


class TooEager(Largest):
    """Sees every step, and reports it."""

    sees_every_step: ClassVar = True


class Forgetful(Largest):
    """Counts steps in a place that is not saved."""

    seen: ClassVar[dict[int, list[Any]]] = {}

    def observe(self, event: Any) -> Any:
        kept = self.seen.setdefault(id(self), [0, self])  # itself too, so that no other gets its id
        kept[0] += 1
        return {"*": kept[0]}


class Unpackable(Largest):
    """Keeps what no checkpoint can hold."""

    _kept: Any = None

    def observe(self, event: Any) -> Any:
        self._kept = complex(event.step)
        return {"*": 1}


class Shared(Largest):
    """Counts for all instances."""

    count: ClassVar[list[int]] = [0]

    def observe(self, event: Any) -> Any:
        self.count[0] += 1
        return {"*": self.count[0]}


class Fragile(Largest):
    """Takes whole numbers of weights."""

    def observe(self, event: Any) -> Any:
        return {w.path: int(w.after.abs().max()) for w in event.weights(self.layers)}


class Dividing(Largest):
    """Divides by the gradient."""

    def observe(self, event: Any) -> Any:
        return {w.path: 1 / float(w.gradient.abs().nan_to_num(1).max()) for w in event.weights(self.layers)}


class AskingForMore(Largest):
    """Needs what there is not."""

    needs: ClassVar = frozenset({"before", "tomorrow"})


@pytest.mark.parametrize(
    ("monitor", "breach"),
    [
        (Writes, "random generator. At Updated 1: it changed the value of embed.weight."),
        (Rolls, "random generator. At Updated 1: it changed random's global generator."),
        (
            LooksEverywhere,
            'With layers = "wide|head" it reports of these layers, or of the whole model. It reported of embed.',
        ),
        (Invents, '"*". largest was about "attic"; the layers are embed, hidden, wide, head.'),
        (
            Undeclared,
            '"*". At Updated 1 it failed with ValueError: observe returned the reading "surprise"; it reports largest.',
        ),
        (Wordy, "of layer \"*\": could not convert string to float: 'much'."),
        (
            Mute,
            '"*". It reported nothing about the layers embed, hidden, wide, head in 12 steps; pass options that let it.',
        ),
        (TooEager, "it reports at steps 4, 6 and 8 alone. It reported at step 3."),
        (
            Fragile,
            "do not make it raise. It raised ValueError: cannot convert float NaN to integer (at Updated 1)",
        ),
        (Dividing, "do not make it raise. It raised ZeroDivisionError: float division by zero (at Updated 1)"),
        (AskingForMore, "needs ['tomorrow']; there is before, rungs."),
    ],
)
def test_a_monitor_with_one_fault_is_caught(monitor: type[Monitor], breach: str) -> None:
    message = said(check_monitor, monitor)
    assert message.startswith('monitor "largest", law: ') and message.endswith(breach)


def test_state_outside_private_attributes_is_caught() -> None:
    assert "it reports what it would have reported. It reported {'kind': 'reading', 'step': 8, " in said(
        check_monitor, Forgetful
    )


def test_state_that_no_checkpoint_can_hold_is_named() -> None:
    assert said(check_monitor, Unpackable).endswith(
        'the state of monitor "largest" cannot be saved: TypeError: state._kept is a complex; state is plain data (numbers, '
        "strings, lists, dicts) and tensors"
    )


def test_state_of_the_class_is_caught() -> None:
    assert "what one has observed, the other does not know. First it reported" in said(check_monitor, Shared)


def test_a_monitor_of_another_event_is_watched_there() -> None:
    class AtTheStart(Largest):
        """Largest weight at the start."""

        on: ClassVar = Began

    check_monitor(AtTheStart)


def test_updated_is_the_event_of_a_monitor_by_default() -> None:
    assert Largest.on is Updated

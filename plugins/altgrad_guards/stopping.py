"""Guards that end a run which has failed, or take it back to where it had not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from altgrad_core import Action, Intervention, RollBack, Stop


class StopOnNonfinite(Intervention):
    """Stop after `patience` consecutive steps with a non-finite training loss.

    Options:
        patience: steps in a row.
    """

    name: ClassVar = "stop-on-nonfinite"
    reads: ClassVar = "loss"
    acts: ClassVar = (Stop,)

    patience: PositiveInt = 3
    _count: int = 0

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count steps without a finite loss."""
        (loss,) = readings.values()
        self._count = 0 if math.isfinite(loss) else self._count + 1
        if self._count == self.patience:
            yield Stop(because=f"the loss was not finite for {self.patience} steps in a row", diverged=True)


class StopOnDivergence(Intervention):
    """Stop after `patience` consecutive steps with a training loss above a threshold.

    The threshold is `threshold` times the loss of a model that has learned nothing, such as ln(vocabulary).

    ln(vocabulary) is the loss of a uniform guess, in nats. A loss that is NaN counts as above.

    Options:
        threshold: of the loss, over ln(vocabulary).
        patience: steps in a row.
    """

    name: ClassVar = "stop-on-divergence"
    reads: ClassVar = "relative-loss"
    acts: ClassVar = (Stop,)

    threshold: PositiveFloat = 3.0
    patience: PositiveInt = 5
    _count: int = 0

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count steps above the threshold."""
        (loss,) = readings.values()
        self._count = 0 if loss <= self.threshold else self._count + 1  # NaN is not <= anything
        if self._count == self.patience:
            because = f"the loss was above {self.threshold:g} ln(vocabulary) for {self.patience} steps in a row"
            yield Stop(because=because, diverged=True)


class RollBackOnDivergence(Intervention):
    """Return to the last good checkpoint, with smaller rates, after divergence.

    The loss must have diverged for `patience` steps.

    Diverged is a training loss above `threshold` times ln(vocabulary), or NaN. Give the run a `checkpoint_every`:
    without one it starts again.

    Options:
        threshold: of the loss, over ln(vocabulary).
        patience: steps in a row.
        factor: on every learning rate, each time.
        most: after so many times the run stops.
    """

    name: ClassVar = "roll-back"
    reads: ClassVar = "relative-loss"
    acts: ClassVar = (RollBack,)

    threshold: PositiveFloat = 3.0
    patience: PositiveInt = 3
    factor: float = Field(default=0.5, gt=0, le=1)
    most: PositiveInt = 3
    _count: int = 0

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count steps above the threshold."""
        (loss,) = readings.values()
        self._count = 0 if loss <= self.threshold else self._count + 1
        if self._count == self.patience:
            self._count = 0
            because = f"the loss was above {self.threshold:g} ln(vocabulary) for {self.patience} steps in a row"
            last_good = max(0, step - self.patience - 1)  # the weights after it gave the last good loss
            yield RollBack(not_after=last_good, factor=self.factor, most=self.most, because=because)

"""Guards that end a run which has failed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import PositiveFloat, PositiveInt

from altgrad_core import Action, Intervention, Stop


class StopOnNonfinite(Intervention):
    """Stop once the training loss has been NaN or infinite for `patience` steps in a row."""

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
    """Stop once the training loss has been above `threshold` times ln(vocabulary) for `patience` steps in a row.

    ln(vocabulary) is the loss of a uniform guess, in nats. A loss that is NaN counts as above.
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

"""Guards: interventions that stop a run that has failed, and widen layers that no longer move."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from pydantic import PositiveFloat, PositiveInt

from altgrad_core import Action, Intervention, Stop, SwitchFormat, hookimpl


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


class WidenStalled(Intervention):
    """Move a layer to another format once its codes stop changing."""

    name: ClassVar = "widen-stalled"
    reads: ClassVar = "flip-rate"
    acts: ClassVar = (SwitchFormat,)

    to: str
    below: PositiveFloat = 1e-3
    patience: PositiveInt = 20
    _quiet: Counter[str] = Counter()

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count quiet readings by layer."""
        for layer, rate in readings.items():
            self._quiet[layer] = self._quiet[layer] + 1 if rate < self.below else 0
            if self._quiet[layer] == self.patience:
                because = f"flip rate < {self.below:g} for {self.patience} readings"
                yield SwitchFormat(layer=layer, to=self.to, because=because)


@hookimpl
def altgrad_interventions() -> Iterable[type[Intervention]]:
    """The interventions of this package."""
    yield StopOnNonfinite
    yield StopOnDivergence
    yield WidenStalled

"""The guard against weights that oscillate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveInt

from altgrad_core import Action, Intervention, ScaleLearningRate
from altgrad_guards.chosen import chosen
from altgrad_guards.streaks import continued

Share = Annotated[float, Field(gt=0, lt=1)]


class FreezeOscillating(Intervention):
    """Freeze weights that oscillate too often, at their average.

    Reads `oscillating` of monitor `reversals`.

    Nagel et al., "Overcoming oscillations in quantization-aware training", 2022 (arXiv 2203.11086). Once so many
    elements of a layer have oscillated, all of its elements are followed to the end of the run, and any is held as soon
    as the moving average of its reversals, which weighs a step by 0.01, exceeds `frequency`. The optimizer goes on to
    follow its gradient, without effect.

    Options:
        above: the share of a layer's elements that have reversed `at_least` times, an option of the monitor.
        patience: readings in a row.
        frequency: reversals per step; every third step is 0.33. Nagel et al. lower it from 0.04 to 0.01 in training.
        layers: those it looks at; several patterns separated by `|`.
    """

    name: ClassVar = "freeze-oscillating"
    reads: ClassVar = "oscillating"
    acts: ClassVar = (ScaleLearningRate,)

    above: Share = 0.05
    patience: PositiveInt = 1
    frequency: Share = 0.02
    layers: str = "*"
    _often: Counter[str] = Counter()
    _done: list[str] = []

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count readings by layer."""
        for layer, share in chosen(readings, self.layers):
            if continued(self._often, layer, share > self.above, patience=self.patience) and layer not in self._done:
                self._done = [*self._done, layer]
                because = f"{share:.3g} of {layer} oscillates, more than {self.above:g}"
                yield ScaleLearningRate(factor=0.0, layer=layer, reversing=self.frequency, because=because)

"""Guards of the gradients of one step: leave the step out, or scale gradients down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from pydantic import NonNegativeFloat, PositiveFloat

from altgrad_core import Action, ClipGradients, Intervention, SkipStep

LARGEST_E5M2 = 57344.0


class SkipBadStep(Intervention):
    """Leave weights and optimizer state alone in a step whose gradient norm is not finite, or above a limit.

    Options:
        above: the limit of the global L2 norm; without it only NaN and infinities count.
    """

    name: ClassVar = "skip-step"
    reads: ClassVar = "gradient-norm"
    acts: ClassVar = (SkipStep,)

    above: PositiveFloat | None = None

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Look at the norm of this step."""
        (norm,) = readings.values()
        if not math.isfinite(norm):
            yield SkipStep(because=f"the gradient norm is {norm}")
        elif self.above is not None and norm > self.above:
            yield SkipStep(because=f"the gradient norm {norm:.4g} > {self.above:g}")


class ClipLayers(Intervention):
    """Scale the gradient of any layer down to a largest L2 norm of its own; reads `gradient-l2`."""

    name: ClassVar = "clip-layers"
    reads: ClassVar = "gradient-l2"
    acts: ClassVar = (ClipGradients,)

    max_norm: PositiveFloat

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Look at every layer."""
        for layer, norm in readings.items():
            if norm > self.max_norm and math.isfinite(norm):
                because = f"gradient norm {norm:.4g} > {self.max_norm:g}"
                yield ClipGradients(layer=layer, max_norm=self.max_norm, because=because)


class ClipPartition(Intervention):
    """Clip the gradients of a layer that overflows to base * largest(format) / largest(E5M2).

    The rule takes a format's share of the range of E5M2 for a bound of the gradient's L2 norm. Its weakness: the bound
    knows neither the scale nor the size of the tensor. Under `amax` scaling nothing overflows and it never acts; it can
    act with `scaling = "none"`, `mx-floor`, and `delayed`. Reads `gradient-overflow-rate` of monitor `stability`.

    Options:
        format: the format of the gradients.
        base: the bound for E5M2.
        above: the overflow rate from which on it acts.
    """

    name: ClassVar = "clip-partition"
    reads: ClassVar = "gradient-overflow-rate"
    acts: ClassVar = (ClipGradients,)

    format: str
    base: PositiveFloat = 1.0
    above: NonNegativeFloat = 0.0

    def names_formats(self) -> Iterable[str]:
        """The format of the gradients."""
        return [self.format]

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Look at the overflow rate of every layer."""
        from altgrad_core import load_format

        bound = self.base * load_format(self.format).largest / LARGEST_E5M2
        for layer, rate in readings.items():
            if rate > self.above:
                because = f"gradient overflow rate {rate:.3g} > {self.above:g}"
                yield ClipGradients(layer=layer, max_norm=bound, because=because)

"""Guards of the gradients of one step: leave the step out, or scale gradients down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from pydantic import NonNegativeFloat, PositiveFloat

from altgrad_core import Action, ClipGradients, Intervention, SkipStep
from altgrad_guards.chosen import chosen

LARGEST_E5M2 = 57344.0
FLOAT32_BINADES = 300.0
"""More than lie between the smallest and the largest number."""


class SkipBadStep(Intervention):
    """Skip a step whose gradient norm is not finite, or above a limit.

    Weights and optimizer state stay as they are.

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
    """Clip the gradient of each layer to its own largest L2 norm.

    Reads `gradient-l2`.

    Options:
        max_norm: the largest norm.
        layers: those it looks at; several patterns separated by `|`.
    """

    name: ClassVar = "clip-layers"
    reads: ClassVar = "gradient-l2"
    acts: ClassVar = (ClipGradients,)

    max_norm: PositiveFloat
    layers: str = "*"

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Look at every layer."""
        for layer, norm in chosen(readings, self.layers):
            if norm > self.max_norm and math.isfinite(norm):
                because = f"gradient norm {norm:.4g} > {self.max_norm:g}"
                yield ClipGradients(layer=layer, max_norm=self.max_norm, because=because)


class ClipPartition(Intervention):
    """Clip the gradients of an overflowing layer in proportion to its format's range.

    The norm is at most base * largest(format) / largest(E5M2).

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


class ClipRelative(Intervention):
    """Scale a layer's gradient down by the overflow of its output gradient.

    The factor is how far that gradient went beyond its own scaled range.

    With r = scale * largest(format), the end of the grid of the layer's output gradient, and its amax, the gradient of
    the weight is scaled by share * r / amax wherever that is below 1: as it would be, had the gradient of the output been
    scaled into its range. (It was cut off at the ends of it, which this does not undo.) So the bound follows scale and
    format, unlike that of `clip-partition`. With `share` 1 it acts on overflow alone: under `amax` scaling that is
    rounded up, never. Reads `gradient-headroom` of monitor `stability`, which is log2(r / amax), and `gradient-l2` of
    `gradient-norms`; both must report at every step on which it should act.

    Options:
        share: of the range that may be used; below 1 it acts without any overflow too.
        layers: those it looks at; several patterns separated by `|`.
    """

    name: ClassVar = "clip-relative"
    reads: ClassVar = ("gradient-headroom", "gradient-l2")
    acts: ClassVar = (ClipGradients,)

    share: PositiveFloat = 1.0
    layers: str = "*"

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Look at every layer of which both are known."""
        norms = readings.get("gradient-l2", {})
        for layer, headroom in chosen(readings.get("gradient-headroom", {}), self.layers):
            binades = max(headroom + math.log2(self.share), -FLOAT32_BINADES)
            norm = norms.get(layer, math.nan)
            if binades < 0 < norm < math.inf:
                because = f"the gradient of its output is {2.0**-binades:.4g} times {self._range}"
                yield ClipGradients(layer=layer, max_norm=norm * 2.0**binades, because=because)

    @property
    def _range(self) -> str:
        return "its scaled range" if self.share == 1 else f"{self.share:g} of its scaled range"

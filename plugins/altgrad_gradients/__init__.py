"""Gradients: their size, what quantization does to them, how many are zero, and units that have stopped learning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import PositiveFloat, PositiveInt

from altgrad_core import Backpropagated, Monitor, Reading, Readings, hookimpl


class GradientNorms(Monitor):
    """L2 norm and largest magnitude of each weight's gradient; in `altgrad run`, before clipping.

    `gradient-l2` and `gradient-linf`; both are infinite where an element is, and absent where one is NaN.
    """

    name: ClassVar = "gradient-norms"
    on: ClassVar = Backpropagated
    reports: ClassVar = ("gradient-l2", "gradient-linf")

    def observe(self, event: Backpropagated) -> Readings:
        """Both norms by layer."""
        from altgrad_gradients.size import norms

        result = norms({w.path: w.gradient for w in event.weights(self.layers) if w.gradient is not None})
        return {
            "gradient-l2": {path: l2 for path, (l2, _) in result.items()},
            "gradient-linf": {path: linf for path, (_, linf) in result.items()},
        }


class GradientFidelity(Monitor):
    """Cosine and signal-to-noise ratio of every gradient against the float32 twin's.

    The twin has the same weights, not quantized, and the same batch; g is its gradient, g_q the one of the run.

    - `gradient-cosine`: <g, g_q> / (|g| |g_q|); absent where one of them is zero.
    - `gradient-snr`: 10 log10(|g|^2 / |g - g_q|^2) in dB, at most 200; absent where g is zero.

    Both are absent where a gradient is not finite.
    """

    name: ClassVar = "gradient-fidelity"
    on: ClassVar = Backpropagated
    reports: ClassVar = (
        Reading("gradient-cosine", "cosine of the gradient with its float32 twin's", worse="down", chart="heat"),
        Reading("gradient-snr", "signal to noise of the gradient", "dB", worse="down"),
    )
    every: PositiveInt = 100

    def observe(self, event: Backpropagated) -> Readings:
        """Both by layer."""
        from altgrad_gradients.fidelity import cosine, moments, snr

        gradients = {w.path: w.gradient for w in event.weights(self.layers) if w.gradient is not None}
        twin = event.twin() if gradients else {}
        result = moments({path: (twin[path], g) for path, g in gradients.items() if path in twin})
        return {
            "gradient-cosine": _defined({path: cosine(m) for path, m in result.items()}),
            "gradient-snr": _defined({path: snr(m) for path, m in result.items()}),
        }


class GradientSparsity(Monitor):
    """Share of gradient elements that are zero, also in rows and columns of zeros.

    - `gradient-sparsity`: the fraction of exact zeros, of either sign.
    - `gradient-zero-regions`: the fraction of elements in a row (an output unit) or column (an input) without a single
      non-zero gradient; at most the sparsity. The rest of the zeros are scattered, as underflow makes them.
    """

    name: ClassVar = "gradient-sparsity"
    on: ClassVar = Backpropagated
    reports: ClassVar = (
        Reading("gradient-sparsity", "share of gradients that are zero", "share", worse="up"),
        Reading("gradient-zero-regions", unit="share", worse="up"),
    )

    def observe(self, event: Backpropagated) -> Readings:
        """Both by layer."""
        from altgrad_gradients.zeros import sparsity, zero_regions

        gradients = {w.path: w.gradient for w in event.weights(self.layers) if w.gradient is not None}
        gradients = {path: gradient for path, gradient in gradients.items() if gradient.numel()}
        return {
            "gradient-sparsity": {path: sparsity(gradient) for path, gradient in gradients.items()},
            "gradient-zero-regions": {path: zero_regions(gradient) for path, gradient in gradients.items()},
        }


class DeadNeurons(Monitor):
    """Output units without a gradient, now or for a window of steps.

    A unit is silent in a step if its row of the weight gradient stays below `threshold` in magnitude throughout. Every
    step is looked at; where there is no gradient at all, nothing is.

    - `silent-neurons`: how many are silent in this step.
    - `dead-neurons`, `dead-fraction`: how many have been silent for the last `window` steps, and as a fraction; absent
      until so many have been looked at.

    Options:
        window: steps without a gradient after which a unit is dead.
        threshold: magnitude below which a gradient counts as none.
    """

    name: ClassVar = "dead-neurons"
    on: ClassVar = Backpropagated
    reports: ClassVar = ("silent-neurons", "dead-neurons", Reading("dead-fraction", unit="share", worse="up"))
    sees_every_step: ClassVar = True
    every: PositiveInt = 10
    window: PositiveInt = 100
    threshold: PositiveFloat = 1e-8

    _silent: dict[str, Any] = {}
    _looked: dict[str, int] = {}

    def observe(self, event: Backpropagated) -> Readings:
        """Look at this step; report if it is due."""
        from altgrad_gradients.silence import silent_for

        seen = []
        for weight in event.weights(self.layers):
            if weight.gradient is not None:
                seen.append(weight.path)
                self._looked[weight.path] = self._looked.get(weight.path, 0) + 1
                self._silent[weight.path] = silent_for(
                    weight.gradient, self._silent.get(weight.path), threshold=self.threshold
                )
        return self._report(seen) if self.is_due(event.step) else {}

    def _report(self, seen: list[str]) -> Readings:
        dead = {path: self._silent[path] >= self.window for path in seen if self._looked[path] >= self.window}
        return {
            "silent-neurons": {path: (self._silent[path] > 0).sum() for path in seen},
            "dead-neurons": {path: units.sum() for path, units in dead.items()},
            "dead-fraction": {path: units.double().mean() for path, units in dead.items() if len(units)},
        }


def _defined(values: dict[str, float | None]) -> dict[str, float]:
    return {path: value for path, value in values.items() if value is not None}


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitors of this package."""
    yield GradientNorms
    yield GradientFidelity
    yield GradientSparsity
    yield DeadNeurons

"""Monitors of what rounding costs the weights, in the format in force and in others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from altgrad_core import Backpropagated, Monitor, Reading, Readings

COSTS = ("overflow-rate", "underflow-rate", "sqnr", "rungs-used")
SPLITS = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
AnyCase = BeforeValidator(lambda name: name.lower() if isinstance(name, str) else name)


class QuantizationError(Monitor):
    """Mean squared error and SQNR of every quantized weight.

    They compare with the values that the forward pass used.

    Against the unrounded weight, at the scale in force, to the nearest rung whatever the rounding of the recipe:

    - `quantization-mse`: the mean of (w - Q(w))^2, in squared units of the weight.
    - `quantization-sqnr`: 10 log10(|w|^2 / |w - Q(w)|^2), in dB, at most 200 (Widrow and Kollar, 2008); absent where
      all is zero.

    Elements that are not finite are left out; so is a weight without any other.
    """

    name: ClassVar = "quantization-error"
    reads_grids: ClassVar = True
    on: ClassVar = Backpropagated
    reports: ClassVar = (
        Reading("quantization-mse", worse="up"),
        Reading(
            "quantization-sqnr", "signal to rounding noise of the weights", "dB", worse="down", limit=17.0, chart="bar"
        ),  # one bit of mantissa gives about 19, none about 14
    )

    every: PositiveInt = 100

    def observe(self, event: Backpropagated) -> Readings:
        """Both readings by layer."""
        from altgrad_stability.errors import decibels, energies
        from altgrad_stability.tallies import plain

        rows = {}
        for weight in event.weights(self.layers):
            if weight.geometry is not None and (rungs := weight.rungs_after) is not None:
                rows[weight.path] = energies(weight.after, weight.geometry.value(rungs))
        sums = {path: row for path, row in zip(rows, plain(list(rows.values())), strict=True) if row[0]}
        ratios = {path: decibels(signal, noise) for path, (_, signal, noise) in sums.items()}
        return {
            "quantization-mse": {path: noise / count for path, (count, _, noise) in sums.items()},
            "quantization-sqnr": {path: ratio for path, ratio in ratios.items() if ratio is not None},
        }


class WhatIf(Monitor):
    """Quantization error of every weight in other formats than its own.

    By default these are the eight splits of one byte.

    The weight is rounded to the nearest rung at the scale of its own amax, one for the tensor, whatever the recipe
    says. Of each format in `formats`:

    - `what-if-FORMAT-overflow-rate`: elements beyond the ends of the grid, per element: 0 with `scale_rounding = "up"`,
      and with `"exact"` but for what float32 makes of the quotient amax / scale.
    - `what-if-FORMAT-underflow-rate`: non-zero elements rounded to zero, per element.
    - `what-if-FORMAT-sqnr`: 10 log10(|w|^2 / |w - Q(w)|^2), in dB, at most 200; absent where all is zero.
    - `what-if-FORMAT-rungs-used`: how many different rungs the weight takes; +0 and -0 are one.

    Elements that are not finite are left out; so is a weight without any other.

    Options:
        formats: their names.
        scale_rounding: of the scale that maps the amax to the largest value of the format.
    """

    name: ClassVar = "what-if"
    on: ClassVar = Backpropagated
    reports: ClassVar = tuple(f"what-if-{split}-{cost}" for split in SPLITS for cost in COSTS)

    every: PositiveInt = 100
    formats: list[Annotated[str, AnyCase]] = Field(default=list(SPLITS), min_length=1)
    scale_rounding: Literal["up", "exact", "mx-floor"] = "up"

    def readings(self) -> tuple[str, ...]:
        """Four of each format."""
        return tuple(f"what-if-{name}-{cost}" for name in self.formats for cost in COSTS)

    def names_formats(self) -> Iterable[str]:
        """The option `formats`."""
        return self.formats

    def observe(self, event: Backpropagated) -> Readings:
        """Four readings of each format, by layer."""
        from altgrad_core import Geometry, Quantizer, Scaling, load_format, quantize
        from altgrad_stability.errors import decibels, energies, finite, rungs_used

        readings: dict[str, dict[str, Any]] = {}
        scaling = Scaling("amax", self.scale_rounding)
        for weight in event.weights(self.layers):
            values = finite(weight.after)
            for name in self.formats if values.numel() else ():
                done = quantize(values, Quantizer(load_format(name), scaling=scaling))
                assert done.tally is not None
                rungs = Geometry.of(load_format(name), done.scale).rung(values)
                result = {
                    "overflow-rate": done.tally.overflow / values.numel(),
                    "underflow-rate": done.tally.underflow / values.numel(),
                    "sqnr": decibels(*energies(values, done.values).tolist()[1:]),
                    "rungs-used": rungs_used(rungs),
                }
                for cost, number in result.items():
                    if number is not None:
                        readings.setdefault(f"what-if-{name}-{cost}", {})[weight.path] = number
        return readings

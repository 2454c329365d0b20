"""The monitor of rung displacement."""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveInt

from altgrad_core import Monitor, Reading, Readings, Updated


class Displacement(Monitor):
    """Movement of quantized weights in one step, in rungs.

    d = u(after) - u(before), where u is the position in rungs, linear between them, both sides at the scale in force
    when the step was taken. Only the step of the report is looked at. A weight that is not finite is left out.

    - `displacement-mean`, `-mean-abs`, `-std`: of d, over all elements; the last is the population's.
    - `displacement-p50`, `-p90`, `-p99`: quantiles of |d|, each a value that occurs.
    - `displacement-cv`: standard deviation of |d| / mean of |d|; 0 if all moved equally far; absent if nothing moved.
    - `effective-descent-quality`: <Q(after) - Q(before), after - before> / |after - before|^2, where Q rounds to the
      nearest rung: how much of the step the rounded weights take, 1 if all of it; absent if nothing moved. Times
      |after - before| it is the EDQ of Yu et al., "Collage", 2024 (arXiv 2405.03637), with the float32 weights for the
      intended step. Of an optimizer that keeps its weights on the grid it tells nothing: it is 1.
    - `displacement-below-half`: the share of moves below half a rung, which alone change no code of a weight on its
      grid; a move is an element whose float value changed. Absent if nothing moved.
    """

    name: ClassVar = "displacement"
    reads_grids: ClassVar = True
    needs: ClassVar = frozenset({"before"})
    reports: ClassVar = (
        Reading("displacement-mean", unit="rungs per step"),
        Reading("displacement-mean-abs", "mean displacement", "rungs per step", chart="bar"),
        *(Reading(f"displacement-{of}", unit="rungs per step") for of in ("std", "p50", "p90", "p99")),
        "displacement-cv",
        Reading("displacement-below-half", "share of moves below half a rung", "share"),
        Reading("effective-descent-quality", worse="down"),
    )
    every: PositiveInt = 100

    def observe(self, event: Updated) -> Readings:
        """The statistics by layer."""
        from math import isnan

        from altgrad_movement.counts import transferred
        from altgrad_movement.displacements import NAMES, descent_quality, displacement_statistics

        rows = {}
        for weight in event.weights(self.layers):
            before, after, geometry = weight.before, weight.after, weight.geometry
            if before is not None and geometry is not None and after.numel():
                rounded = (geometry.value(geometry.rung(before)), geometry.value(geometry.rung(after)))
                rows[weight.path] = displacement_statistics(
                    geometry.position(before),
                    geometry.position(after),
                    changed=before != after,
                    quality=descent_quality((before, after), rounded),
                )
        readings: Readings = {}
        for path, row in zip(rows, transferred(list(rows.values())), strict=True):
            for name, number in zip(NAMES, row, strict=True):
                if not isnan(number):
                    reading = "effective-descent-quality" if name == "quality" else f"displacement-{name}"
                    readings.setdefault(reading, {})[path] = number
        return readings

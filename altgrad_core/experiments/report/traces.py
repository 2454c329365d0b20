"""Readings of one run by layer and step, gathered into as many columns as a figure can show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from altgrad_core.experiments.figures.axes import can_be_drawn
from altgrad_core.records.record import number

MOST_COLUMNS = 48
Point = tuple[int, float]


@dataclass(frozen=True)
class Trace:
    """One reading: a row for each layer, columns of equal width from the first to the last step; NaN where there is none."""

    layers: tuple[str, ...]
    steps: tuple[int, int]
    values: tuple[tuple[float, ...], ...]

    @property
    def range(self) -> tuple[float, float] | None:
        """The least and the greatest value, or None where there is none."""
        finite = [value for row in self.values for value in row if math.isfinite(value)]
        return (min(finite), max(finite)) if finite else None


def traces(records: Iterable[Mapping[str, Any]], readings: Sequence[str]) -> dict[str, Trace]:
    """Those of the readings that the records have, each in one pass over all."""
    result: dict[str, dict[str, list[Point]]] = {}
    for record in records:
        if record.get("kind") == "reading" and record.get("reading") in readings:
            for layer, point in _points(record):
                result.setdefault(record["reading"], {}).setdefault(layer, []).append(point)
    return {reading: _trace(result[reading]) for reading in readings if result.get(reading)}


def _points(record: Mapping[str, Any]) -> list[tuple[str, Point]]:
    """The value of each layer; nothing of a damaged record."""
    try:
        step, values = record["step"], {layer: number(value) for layer, value in record["values"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
    return [(layer, (step, value)) for layer, value in values.items()] if isinstance(step, int) else []


def _trace(layers: Mapping[str, Sequence[Point]]) -> Trace:
    steps = sorted({step for points in layers.values() for step, _ in points})
    columns = min(len(steps), MOST_COLUMNS)
    first, last = steps[0], steps[-1]
    width = (last - first) / columns or 1.0
    rows = []
    for points in layers.values():
        sums, counts = [0.0] * columns, [0] * columns
        for step, value in points:
            if can_be_drawn(value):
                column = min(columns - 1, int((step - first) / width))
                sums[column], counts[column] = sums[column] + value, counts[column] + 1
        rows.append(tuple(total / count if count else math.nan for total, count in zip(sums, counts, strict=True)))
    return Trace(tuple(layers), (first, last), tuple(rows))

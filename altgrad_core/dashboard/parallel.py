"""Parallel coordinates over the cells of a study, and which cells the brushed axes leave."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from altgrad_core.dashboard.figures import Figure, text
from altgrad_core.experiments.figures.canvas import shortened
from altgrad_core.experiments.study.study import Result, Study

Ranges = list[list[float]]
SLACK = 1e-9  # of the width of an axis, for numbers that went through a browser
LETTERS = 22  # of a tick: more would run into the next axis, or off a narrow page
ROOM = 0.08  # of the width of an axis, above it, for cells without a value
NONE = "none"
COLOURS = [[0.0, "#0090d8"], [0.5, "#9a8fb0"], [1.0, "#e0701a"]]  # of low and high losses, on light and on dark


@dataclass(frozen=True)
class Axis:
    """One axis: a position for every cell.

    Attributes:
        key: which facts it shows; no two axes have the same.
        positions: one for each cell, all finite.
        ticks: position and words, where the axis is not a plain one of numbers.
    """

    key: str
    positions: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...] | None = None

    @property
    def drawn(self) -> Figure:
        """As Plotly takes it."""
        own: Figure = {"label": text(self.key), "values": list(self.positions)}
        if self.ticks is not None:
            own |= {
                "tickvals": [at for at, _ in self.ticks],
                "ticktext": [text(shortened(label, LETTERS)) for _, label in self.ticks],
            }
        return own


@dataclass(frozen=True)
class Brush:
    """What was brushed: the order of the axes as they stand, and by axis the ranges that are left."""

    order: tuple[str, ...] = ()
    ranges: Mapping[str, Ranges] | None = None

    @classmethod
    def of(cls, stored: Any) -> Brush:
        """From plain data that the browser kept."""
        labels = stored if isinstance(stored, Mapping) else {}
        return cls(tuple(labels.get("order", ())), dict(labels.get("ranges", {})))

    @property
    def stored(self) -> dict[str, Any]:
        """As plain data."""
        return {"order": list(self.order), "ranges": dict(self.ranges or {})}

    def after(self, change: Any, axes: Sequence[str]) -> Brush:
        """After a `plotly_restyle` event: an axis was brushed, released, or moved.

        Args:
            change: its data: `[{"dimensions[0].constraintrange": ...}, [0]]`, or with all `dimensions`.
            axes: the keys of the axes as they were drawn.
        """
        edits = change[0] if isinstance(change, list) and change and isinstance(change[0], Mapping) else {}
        order, ranges = list(self.order or axes), dict(self.ranges or {})
        if isinstance(moved := _inner(edits.get("dimensions")), list):
            names = {text(key): key for key in axes}
            order = [names[d["label"]] for d in moved if d.get("label") in names]
            brushed = {names[d["label"]]: _ranges(d.get("constraintrange")) for d in moved if d.get("label") in names}
            return Brush(tuple(order), {key: result for key, result in brushed.items() if result})
        for key, value in edits.items():
            place, _, what = key.removeprefix("dimensions[").partition("].")
            if what == "constraintrange" and place.isdigit() and int(place) < len(order):
                if result := _ranges(_inner(value)):
                    ranges[order[int(place)]] = result
                else:
                    ranges.pop(order[int(place)], None)
        return Brush(tuple(order), ranges)

    def left(self, axes: Iterable[Axis], cells: int) -> list[int]:
        """The indices of the cells that lie in a range of every brushed axis."""
        kept = range(cells)
        for axis in axes:
            ranges = (self.ranges or {}).get(axis.key)
            if ranges:
                slack = SLACK * (max(axis.positions) - min(axis.positions) or 1.0)
                kept = [
                    i for i in kept if any(low - slack <= axis.positions[i] <= high + slack for low, high in ranges)
                ]  # type: ignore[assignment]
        return list(kept)


def _inner(value: Any) -> Any:
    """Plotly puts the value of one trace into a list."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _ranges(value: Any) -> Ranges:
    if not isinstance(value, list) or not value:
        return []
    pairs = value if isinstance(value[0], list) else [value]
    return [[float(low), float(high)] for low, high in pairs]


def axes_of(study: Study, cells: Sequence[Result], readings: Sequence[str]) -> list[Axis]:
    """What tells the cells apart, then the readings, averaged over steps and layers, then the loss and the status."""
    named = [
        _names("format", [cell.format for cell in cells]),
        _names("optimizer", [cell.optimizer for cell in cells]),
        _names("variant", [cell.variant for cell in cells]),
        _numbers("rate", [cell.rate for cell in cells], is_log=True),
        _names("seed", [NONE if cell.seed is None else str(cell.seed) for cell in cells]),
    ]
    varied = [axis for axis in named if axis.key != "variant" or len(set(axis.positions)) > 1]
    measured = [_numbers(name, [_mean(cell, name) for cell in cells]) for name in readings]
    losses = _numbers("loss", [cell.validation_loss for cell in cells])
    return [*varied, *measured, losses, _names("status", [cell.status for cell in cells])]


def figure(axes: Sequence[Axis], brush: Brush) -> Figure:
    """All cells, coloured by loss, with the brushes as they are."""
    known = {axis.key: axis for axis in axes}
    order = [*(name for name in brush.order if name in known), *(name for name in known if name not in brush.order)]
    dimensions = []
    for name in order:
        ranges = (brush.ranges or {}).get(name)
        dimensions.append({**known[name].drawn, **({"constraintrange": ranges} if ranges else {})})
    colour = {"color": list(known["loss"].positions), "colorscale": COLOURS}
    trace = {"type": "parcoords", "dimensions": dimensions, "line": colour, "labelangle": 0, "tickfont": {"size": 11}}
    look = {"height": 380, "margin": {"l": 80, "r": 60, "t": 46, "b": 24}, "paper_bgcolor": "rgba(0,0,0,0)"}
    return {"data": [trace], "layout": look}


def readings_of(cells: Sequence[Result]) -> list[str]:
    """Every reading that some cell recorded; those with a worse direction first."""
    facts = {name: fact for cell in cells for name, fact in cell.run_summary.facts.items()}
    names = dict.fromkeys(name for cell in cells for name in cell.run_summary.readings)
    return sorted(names, key=lambda name: name not in facts or facts[name].worse is None)


def _mean(cell: Result, reading: str) -> float | None:
    means = [mean for layer in cell.run_summary.readings.get(reading, {}).values() if (mean := layer.mean) is not None]
    return sum(means) / len(means) if means else None


def _names(key: str, values: Sequence[str]) -> Axis:
    places = {value: at for at, value in enumerate(dict.fromkeys(values))}
    ticks = tuple((float(at), value or NONE) for value, at in places.items())
    return Axis(key, tuple(float(places[value]) for value in values), ticks)


def _numbers(key: str, values: Sequence[float | None], *, is_log: bool = False) -> Axis:
    """Numbers in order; cells without one, or with one that is not finite, lie above the others."""
    fit = [value is not None and math.isfinite(value) and (value > 0 or not is_log) for value in values]
    moved = [
        (math.log10(v) if is_log else v) if ok and v is not None else None for v, ok in zip(values, fit, strict=True)
    ]
    known = [value for value in moved if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    above = high + ROOM * (high - low or 1.0)
    positions = tuple(above if value is None else value for value in moved)
    if not is_log:
        return Axis(key, positions)  # with ticks of ours, brushes would snap to them
    spelled = [(at, f"{10**at:.3g}") for at in sorted(set(known))]
    return Axis(key, positions, (*spelled, *([(above, NONE)] if len(known) < len(values) else [])))

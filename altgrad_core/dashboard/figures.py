"""The figures of the pages as plain data for Plotly: curves, heat maps, number lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from altgrad_core.contracts.reading import SHARE, Reading
from altgrad_core.experiments.figures.palette import COLOURS
from altgrad_core.experiments.report.weights import Seen
from altgrad_core.results.growing import GrowingRun, Points
from altgrad_core.text import printable

Figure = dict[str, Any]
MOST_POINTS = 1000  # of one curve
MOST_COLUMNS = 400  # of a heat map
HEIGHT = 320  # pixels


def text(value: object) -> str:
    """Words for a figure, in which Plotly finds no markup."""
    return escape(printable(str(value)), quote=False)


def thinned(points: Points) -> tuple[list[int], list[float | None]]:
    """Steps and values in order, about `MOST_POINTS` of them, always with the last; what is not finite is a gap."""
    ordered = sorted(points.items())
    every = max(1, math.ceil(len(ordered) / MOST_POINTS))
    kept = [pair for index, pair in enumerate(ordered) if index % every == 0 or index == len(ordered) - 1]
    return [step for step, _ in kept], [value if math.isfinite(value) else None for _, value in kept]


def layout(*, x: str, y: str, key: str, height: int = HEIGHT, **more: Any) -> Figure:
    """What all figures share. `key`: while it stays the same, zooms and selections outlast an update."""
    return {
        "height": height,
        "margin": {"l": 60, "r": 16, "t": 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {"title": {"text": text(x)}, "automargin": True},
        "yaxis": {"title": {"text": text(y)}, "automargin": True},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "bgcolor": "rgba(0,0,0,0)"},
        "uirevision": key,
        **more,
    }


def blank() -> Figure:
    """Nothing, in the colours of the page: what stands where the numbers have still to be read."""
    hidden = {"visible": False}
    clear = "rgba(0,0,0,0)"
    return {"data": [], "layout": {"paper_bgcolor": clear, "plot_bgcolor": clear, "xaxis": hidden, "yaxis": hidden}}


def line(points: Points, *, name: str, colour: str, mode: str = "lines", **style: Any) -> Figure:
    """One curve over the steps."""
    steps, values = thinned(points)
    own = {"color": colour, "width": 1.5, **style}
    return {"type": "scatter", "mode": mode, "name": text(name), "x": steps, "y": values, "line": own}


def curves(run: GrowingRun, *, key: str) -> Figure:
    """Training and validation loss of a run."""
    drawn = [line(run.losses, name="training", colour=COLOURS[0])]
    if run.evaluations:
        drawn.append(line(run.evaluations, name="validation", colour=COLOURS[1], mode="lines+markers", width=2.5))
    axis = f"loss ({run.unit})" if run.unit else "loss"
    return {"data": drawn, "layout": layout(x="step", y=axis, key=key)}


def reading(run: GrowingRun, name: str, *, key: str) -> Figure:
    """A reading of a run: layer by step, or a curve where there is but one layer."""
    fact, layers = run.fact(name), run.readings.get(name, {})
    if len(layers) <= 1:
        drawn = [line(points, name=layer, colour=COLOURS[0], mode="lines+markers") for layer, points in layers.items()]
        return {"data": drawn, "layout": layout(x="step", y=fact.what, key=key)}
    return heat(layers, fact, key=key)


def heat(layers: Mapping[str, Points], fact: Reading, *, key: str) -> Figure:
    """The values of a reading by layer, from the first on top, and by step."""
    steps = sorted({step for points in layers.values() for step in points})
    every = max(1, math.ceil(len(steps) / MOST_COLUMNS))
    steps = steps[::every]
    rows = [[_finite(points.get(step, math.nan)) for step in steps] for points in layers.values()]
    bar = {"title": {"text": text(fact.unit if fact.unit != SHARE else "")}, "thickness": 12}
    if fact.unit == SHARE:
        bar["tickformat"] = ".2~p"
    map = {
        "type": "heatmap", "x": steps, "y": [text(layer) for layer in layers], "z": rows, "colorscale": "Viridis",
        "colorbar": bar, "hovertemplate": "%{y}<br>step %{x}: %{z:.4g}<extra></extra>",
    }  # fmt: skip
    height = max(HEIGHT, 90 + 18 * len(layers))
    made = layout(x="step", y="", key=key, height=height)
    made["yaxis"] |= {"autorange": "reversed", "type": "category", "tickfont": {"size": 10}}
    return {"data": [map], "layout": made}


def number_line(seen: Seen, *, key: str) -> Figure:
    """The rungs of a format as strokes, in full where a weight lies, and the weights under them."""
    result = seen.occupied
    low, high = result.edges[0], result.edges[-1]
    inside = [(rung, count) for rung, count in zip(result.rungs, result.counts, strict=True) if low <= rung <= high]
    used = _strokes([rung for rung, count in inside if count], "rungs with weights", COLOURS[1])
    free = _strokes([rung for rung, count in inside if not count], "rungs without", "#8a8f98")
    middles = [(left + right) / 2 for left, right in zip(result.edges, result.edges[1:], strict=False)]
    weights = {
        "type": "bar", "name": "weights", "x": middles, "y": list(result.density), "marker": {"color": COLOURS[0]},
        "hovertemplate": "%{x:.4g}: %{y} weights<extra></extra>",
    }  # fmt: skip
    made = layout(x=f"weight / scale, {seen.format}", y="", key=key, height=260, bargap=0)
    made["yaxis"] |= {"domain": [0, 0.72], "title": {"text": "weights"}}
    made["yaxis2"] = {
        "domain": [0.78, 1],
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
        "range": [0, 1],
    }
    return {"data": [weights, free, used], "layout": made}


def _strokes(rungs: Sequence[float], name: str, colour: str) -> Figure:
    xs = [x for rung in rungs for x in (rung, rung, None)]
    ys = [y for _ in rungs for y in (0, 1, None)]
    style = {"color": colour, "width": 1}
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": xs, "y": ys, "yaxis": "y2", "line": style,
        "hovertemplate": "%{x:.6g}<extra></extra>",
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""Loss curves: the mean over seeds and their band, references, and the ends of runs that diverged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altgrad_core.experiments.figures.axes import (
    LOSS,
    PER_TOKEN,
    Limits,
    can_be_drawn,
    draw_levels,
    legend_below,
    perplexity_beside,
)
from altgrad_core.experiments.figures.canvas import Painter, draw, shortened
from altgrad_core.experiments.figures.palette import INK, colours_of, dashes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = Sequence[tuple[float, float]]  # (step, loss)


@dataclass(frozen=True)
class Curve:
    """The runs of one arm.

    Attributes:
        runs: of each seed that finished, the points of its line.
        diverged: the same of those that diverged.
        is_reference: a run in a format wide enough to compare with, drawn in the colour of the text.
    """

    label: str
    runs: tuple[Line, ...]
    diverged: tuple[Line, ...] = ()
    is_reference: bool = False


def limits_of(curves: Sequence[Curve], warm_up: float = 0.12) -> Limits:
    """The range of the losses of finished runs after the first `warm_up` of their steps, for panels that share it."""
    last = max((step for curve in curves for run in curve.runs for step, _ in run), default=0.0)
    values = [
        loss
        for curve in curves
        for run in curve.runs or curve.diverged
        for step, loss in run
        if can_be_drawn(loss) and step >= warm_up * last
    ]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = max(0.05 * (high - low), 1e-3)
    return low - room, high + room


def loss_curves(
    curves: Sequence[Curve],
    *,
    levels: Mapping[str, float] | None = None,
    limits: Limits,
    colours: dict[str, str],
    title: str,
    name: str,
    label: str,
    axis: str = f"{LOSS} ({PER_TOKEN})",
) -> str:
    """The SVG of one panel, as `curves_painter` paints it."""
    painter = curves_painter(curves, levels=levels, limits=limits, colours=colours, title=title, axis=axis)
    return draw(painter.paint, width=painter.width, height=painter.height, name=name, label=label)


def curves_painter(
    curves: Sequence[Curve],
    *,
    levels: Mapping[str, float] | None = None,
    limits: Limits,
    colours: dict[str, str],
    title: str,
    axis: str = f"{LOSS} ({PER_TOKEN})",
) -> Painter:
    """What paints the curves, with a legend below, and a dotted line at each level that lies within the limits."""

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        dashes = dashes_of(curve.label for curve in curves if curve.is_reference)
        entries = [
            (_curve(axes, curve, _colour(curve, colours), dashes.get(curve.label)), shortened(curve.label))
            for curve in curves
        ]
        axes.set_ylim(*limits)
        axes.set_xlim(left=0)
        draw_levels(axes, levels or {}, limits)
        axes.set_title(shortened(title, 40), loc="left", fontweight="bold")
        axes.set_xlabel("step")
        axes.set_ylabel(axis)
        axes.grid()
        if axis.endswith(f"({PER_TOKEN})"):
            perplexity_beside(axes)
        legend_below(figure, entries, columns=2)

    rows = (len(curves) + 1) // 2
    return Painter(paint, 350, 235 + 15 * rows)


def _colour(curve: Curve, colours: dict[str, str]) -> str:
    return INK if curve.is_reference else colours.get(curve.label, next(iter(colours_of([curve.label]).values())))


def _curve(axes: Axes, curve: Curve, colour: str, dashes: tuple[float, ...] | None) -> Any:
    import numpy as np

    style = (0, dashes) if dashes else "-"
    steps, low, mean, high = _band(curve.runs)
    (handle,) = axes.plot(steps, mean, color=colour, linestyle=style, linewidth=1.2 if dashes else 1.8)
    if len(curve.runs) > 1 and not curve.is_reference:
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    for run in curve.diverged:
        line = np.array([point for point in run if can_be_drawn(point[1])]).reshape(-1, 2)
        axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.9, linestyle=(0, (1, 1)))
        _cross(axes, run, colour)
    return handle


def _cross(axes: Axes, run: Line, colour: str) -> None:
    """An x at the top of the panel, over the step in which a run gave up."""
    if run:
        axes.plot(
            [run[-1][0]], [0.97], "x", color=colour, markersize=7, transform=axes.get_xaxis_transform(), clip_on=False
        )


def _band(runs: Sequence[Line]) -> tuple[Any, Any, Any, Any]:
    """Steps, lowest, mean and highest loss over runs, where any of them has a value."""
    import numpy as np

    by_step: dict[float, list[float]] = {}
    for run in runs:
        for step, loss in run:
            if can_be_drawn(loss):
                by_step.setdefault(step, []).append(loss)
    steps = sorted(by_step)
    rows = [(min(by_step[s]), sum(by_step[s]) / len(by_step[s]), max(by_step[s])) for s in steps]
    low, mean, high = np.array(rows).reshape(-1, 3).T
    return np.array(steps), low, mean, high

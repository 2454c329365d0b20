"""The forest plot: the paired effect of each optimizer per format, with its interval and every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from altgrad_core.experiments.figures.axes import legend_below
from altgrad_core.experiments.figures.canvas import draw, shortened
from altgrad_core.experiments.figures.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 20.0
MOST_TICKS = 4  # beside long names there is room for no more labels


@dataclass(frozen=True)
class ForestRow:
    """One comparison.

    Attributes:
        group: what rows are gathered under, such as the format.
        colour: what gives the row its colour, such as the optimizer.
        points: the difference of each pair.
        low, high: the ends of the interval, or None where there is none.
        note: a few words at the right end.
    """

    group: str
    colour: str
    points: tuple[float, ...]
    mean: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def forest(rows: Sequence[ForestRow], *, axis: str, colours: dict[str, str], name: str, label: str) -> str:
    """The SVG of the rows, in their order, beside the names of their groups; zero is marked."""
    height = ROW * len(rows) + 90

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for place, row in enumerate(rows):
            _row(axes, row, place, colours[row.colour])
        _finish(axes, [row.group for row in rows], axis)
        shown = dict.fromkeys(row.colour for row in rows)
        handles = [(axes.plot([], [], "o-", color=colours[text], markersize=5)[0], shortened(text)) for text in shown]
        legend_below(figure, handles, columns=2)

    return draw(paint, width=400, height=height, name=name, label=label)


def _row(axes: Axes, row: ForestRow, place: int, colour: str) -> None:
    axes.plot(
        row.points, [place + 0.3] * len(row.points), "o", color=colour, alpha=0.5, markersize=3, markeredgewidth=0
    )
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [place, place], "-", color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot([row.mean], [place], "o", color=colour, markersize=6)
    if row.note:
        axes.annotate(
            shortened(row.note, 24), (1.0, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", ha="left", fontsize=8.5,
        )  # fmt: skip


def _finish(axes: Axes, groups: Sequence[str], axis: str) -> None:
    """Zero, the name of each group in the middle of its rows, a line between groups, few numbers below."""
    from matplotlib.ticker import MaxNLocator

    axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(len(groups) - 0.4, -0.6)
    starts = [place for place, group in enumerate(groups) if place == 0 or group != groups[place - 1]]
    ends = [*starts[1:], len(groups)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    axes.set_yticks(middles, [shortened(groups[start], 30) for start in starts], fontweight="bold")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for start in starts[1:]:
        axes.axhline(start - 0.5, color=INK, linewidth=0.5, alpha=0.25)
    axes.grid(axis="x")
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=MOST_TICKS, steps=[1, 2, 5, 10]))
    axes.set_xlabel(axis)

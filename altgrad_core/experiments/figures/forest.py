"""The forest plot: the paired effect of each optimizer per format, with its interval and every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from altgrad_core.experiments.figures.axes import legend_below
from altgrad_core.experiments.figures.canvas import Painter, draw, shortened
from altgrad_core.experiments.figures.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 20.0
LINE = 56  # letters of the axis label
MOST_TICKS = 4  # beside long names there is room for no more labels


@dataclass(frozen=True)
class ForestRow:
    """One comparison.

    Attributes:
        group: what rows are gathered under, such as the format.
        colour: what gives the row its colour and its name, such as the optimizer.
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
    """The SVG of the rows, as `forest_painter` paints them."""
    painter = forest_painter(rows, axis=axis, colours=colours)
    return draw(painter.paint, width=painter.width, height=painter.height, name=name, label=label)


def forest_painter(rows: Sequence[ForestRow], *, axis: str, colours: dict[str, str]) -> Painter:
    """What paints the rows, in their order, beside the names of their groups; zero is marked.

    Where colours repeat, every row has its own name beside it, under that of its group; otherwise a legend has them.
    """
    shown = list(dict.fromkeys(row.colour for row in rows))
    groups = [row.group for row in rows]
    starts = [i for i, group in enumerate(groups) if i == 0 or group != groups[i - 1]]
    is_named = len({colours[text] for text in shown}) < len(shown)
    heads = starts if is_named else []  # each takes a line of its own
    places = [i + sum(head <= i for head in heads) for i in range(len(rows))]
    height = ROW * (places[-1] + 1) + (64 if is_named else 104)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for place, row in zip(places, rows, strict=True):
            _row(axes, row, place, colours[row.colour])
        _finish(axes, places, axis)
        for start in starts[1:]:
            axes.axhline(places[start] - (1.5 if is_named else 0.5), color=INK, linewidth=0.5, alpha=0.25)
        if is_named:
            _name_rows(axes, rows, places, starts)
            return
        middles = [(start + end - 1) / 2 for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)]
        axes.set_yticks(middles, [shortened(groups[start], 30) for start in starts], fontweight="bold")
        handles = [(axes.plot([], [], "o-", color=colours[text], markersize=5)[0], shortened(text)) for text in shown]
        legend_below(figure, handles, columns=2)

    return Painter(paint, 520 if is_named else 400, height)


def _name_rows(axes: Axes, rows: Sequence[ForestRow], places: Sequence[int], starts: Sequence[int]) -> None:
    """The name of every row at its height, and above the first of each group that of the group."""
    ticks = {places[start] - 1: shortened(rows[start].group, 40) for start in starts}
    heads = set(ticks)
    ticks |= {place: shortened(row.colour, 40) for place, row in zip(places, rows, strict=True)}
    ordered = sorted(ticks)
    axes.set_yticks(ordered, [ticks[place] for place in ordered])
    for place, text in zip(ordered, axes.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if place in heads else "normal")


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


def _finish(axes: Axes, places: Sequence[int], axis: str) -> None:
    """Zero, and few numbers below."""
    from matplotlib.ticker import MaxNLocator

    axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=MOST_TICKS, steps=[1, 2, 5, 10]))
    axes.set_xlabel(fill(axis, LINE), loc="right")  # the room is on the left, beside the names

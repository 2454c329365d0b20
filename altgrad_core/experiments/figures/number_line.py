"""The number line of a format, the weights under it, and how many of them lie on each of its rungs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altgrad_core.experiments.figures.canvas import Painter, draw, shortened
from altgrad_core.experiments.figures.palette import COLOURS, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BINS = 96


@dataclass(frozen=True)
class Occupied:
    """The weights of one run on the grid of one format, all in units of their scale.

    Attributes:
        rungs: the values of the format, ascending.
        counts: how many weights have each rung as their nearest.
        edges, density: a histogram of the weights; one more edge than bins.
    """

    rungs: Sequence[float]
    counts: Sequence[int]
    edges: Sequence[float]
    density: Sequence[float]

    @classmethod
    def of(cls, rungs: Sequence[float], weights: Any, *, bins: int = BINS) -> Occupied:
        """Of weights that are divided by their scale.

        Args:
            rungs: the values of the format, ascending.
            weights: an array of finite numbers, at least one.
        """
        import numpy as np

        values, grid = np.asarray(weights, dtype=np.float64).ravel(), np.asarray(rungs, dtype=np.float64)
        between = (grid[1:] + grid[:-1]) / 2
        counts = np.bincount(np.searchsorted(between, values), minlength=len(grid))
        density, edges = np.histogram(values, bins=bins)
        return cls(grid.tolist(), counts.tolist(), edges.tolist(), density.tolist())


def number_line_painter(result: Occupied, *, title: str) -> Painter:
    """Draws rungs as strokes, the weights under them; below, the share of weights on every rung."""

    def paint(figure: Figure) -> None:
        strip, weights, codes = figure.subplots(3, 1, height_ratios=(1, 2.6, 2.2))
        _strokes(strip, result)
        strip.set_title(shortened(title, 48), loc="left", fontweight="bold")
        _histogram(weights, result)
        weights.sharex(strip)
        _codes(codes, result)

    return Painter(paint, 350, 280)


def number_line(result: Occupied, *, title: str, name: str, label: str) -> str:
    """The SVG of one format, see `number_line_painter`."""
    painter = number_line_painter(result, title=title)
    return draw(painter.paint, width=painter.width, height=painter.height, name=name, label=label)


def _strokes(axes: Axes, result: Occupied) -> None:
    """Those that hold a weight in full, the others faint; only as far as weights reach."""
    low, high = result.edges[0], result.edges[-1]
    inside = [(rung, count) for rung, count in zip(result.rungs, result.counts, strict=True) if low <= rung <= high]
    axes.vlines([rung for rung, count in inside if not count], 0, 1, color=INK, alpha=0.25, linewidth=0.5)
    axes.vlines([rung for rung, count in inside if count], 0, 1, color=COLOURS[1], linewidth=0.6)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.set_ylabel("rungs", rotation=0, ha="right", va="center")
    axes.tick_params(labelbottom=False, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _histogram(axes: Axes, result: Occupied) -> None:
    axes.stairs(result.density, result.edges, fill=True, color=COLOURS[0], alpha=0.75)
    axes.set_xlabel("weight / scale")
    axes.set_yticks([])
    axes.set_ylabel("weights", rotation=0, ha="right", va="center")
    axes.spines["left"].set_visible(False)


def _codes(axes: Axes, result: Occupied) -> None:
    """The share of weights on each rung, by its index counted from the middle of the grid."""
    total = sum(result.counts) or 1
    origin = min(range(len(result.rungs)), key=lambda index: abs(result.rungs[index]))
    edges = [index - origin - 0.5 for index in range(len(result.rungs) + 1)]
    axes.stairs([100 * count / total for count in result.counts], edges, fill=True, color=COLOURS[2], alpha=0.85)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("rung, counted from zero")
    axes.set_ylabel("% of\nweights", rotation=0, ha="right", va="center")
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y")

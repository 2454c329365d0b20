"""What several figures share: a legend below, a logarithmic axis with few labels, perplexity beside the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from altgrad_core.experiments.figures.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS = "validation loss"
PER_TOKEN = "nats per token"
"""The unit of a loss whose exponential is a perplexity."""
LARGEST = 1e100  # beyond it differences and squares may no longer be finite
Limits = tuple[float, float]


def can_be_drawn(value: float) -> bool:
    """Whether a value is finite, and far enough from the end of float64 to be computed with."""
    return math.isfinite(value) and abs(value) < LARGEST


def legend_below(figure: Figure, entries: Sequence[tuple[Any, str]], *, columns: int = 3) -> None:
    """One legend for the figure, under it."""
    if entries:
        handles, labels = zip(*entries, strict=True)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.2, columnspacing=1.2)


def perplexity_beside(axes: Axes) -> None:
    """A second axis on the right that reads the loss as a perplexity."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_ylim()
    if high > 50:
        return
    beside = axes.secondary_yaxis("right", functions=(np.exp, lambda value: np.log(np.maximum(value, 1e-300))))
    beside.yaxis.set_major_locator(FixedLocator(_round_between(math.exp(low), math.exp(high))))
    beside.yaxis.set_minor_locator(NullLocator())
    beside.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    beside.set_ylabel("perplexity")
    beside.spines["right"].set_visible(True)


def draw_levels(axes: Axes, levels: Mapping[str, float], limits: Limits) -> None:
    """A dotted line with its name at each loss that lies within the limits."""
    for name, loss in levels.items():
        if limits[0] < loss < limits[1]:
            axes.axhline(loss, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
            axes.annotate(
                name, (1.0, loss), xycoords=("axes fraction", "data"), xytext=(-3, 2), textcoords="offset points",
                ha="right", va="bottom", fontsize=8, color=INK,
            )  # fmt: skip


def log_ticks(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis that holds these values above zero, if there are any, and whose labels are short numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not values:
        return
    low, high = min(values) / 1.5, max(values) * 1.5
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    steps = (1.0, 2.0, 5.0) if high / low < 100 else (1.0, 3.0) if high / low < 3000 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def padded(values: Sequence[float], share: float = 0.06) -> Limits:
    """The range of the finite values, a little widened."""
    finite = [value for value in values if can_be_drawn(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = (high - low) * share or max(abs(high) * share, 1e-6)
    return low - room, high + room


def _round_between(low: float, high: float) -> list[float]:
    """About five round numbers from `low` to `high`, evenly placed on a logarithmic axis."""
    result: list[float] = []
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(1 + tenth / 10 for tenth in range(90))):
        result = [d * 10.0**e for e in exponents for d in digits if low <= d * 10.0**e <= high]
        if len(result) >= 3:
            break
    else:  # so narrow that round numbers are of its width, not of its height
        unit = 10.0 ** math.floor(math.log10((high - low) / 2)) if high > low else low
        result = [unit * place for place in range(math.ceil(low / unit), math.floor(high / unit) + 1)]
    step = max(1, math.ceil(len(result) / 5))
    return [float(f"{value:.6g}") for value in result[::step]]

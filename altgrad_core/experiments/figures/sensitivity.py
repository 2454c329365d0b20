"""Loss against learning rate: how much the choice of the rate matters, and where runs diverge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altgrad_core.experiments.figures.axes import (
    LOSS,
    PER_TOKEN,
    Limits,
    can_be_drawn,
    legend_below,
    log_ticks,
    padded,
    perplexity_beside,
)
from altgrad_core.experiments.figures.canvas import draw, shortened
from altgrad_core.experiments.figures.palette import INK, dashes_of, markers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Tried:
    """One rate of one optimizer: the losses of its seeds, and how many of its runs diverged."""

    rate: float
    losses: tuple[float, ...]
    diverged: int
    of: int


@dataclass(frozen=True)
class Sweep:
    """The rates of one optimizer, ascending, and the one that was chosen."""

    label: str
    tried: tuple[Tried, ...]
    chosen: float | None = None

    @property
    def most(self) -> int:
        """How many runs the rates have that most seeds tried."""
        return max((tried.of for tried in self.tried), default=0)


@dataclass(frozen=True)
class Level:
    """A loss to compare with, drawn across the panel."""

    label: str
    loss: float


def sweep_limits(sweeps: Sequence[Sweep], levels: Sequence[Level]) -> Limits:
    """The range of all finite losses; the worst are cut off where they are far beyond the others."""
    losses = sorted(loss for sweep in sweeps for tried in sweep.tried for loss in tried.losses if can_be_drawn(loss))
    best = [level.loss for level in levels if can_be_drawn(level.loss)] + losses[:1]
    if not losses:
        return padded(best)
    middle = losses[(3 * len(losses)) // 4]
    high = min(losses[-1], max(middle + 1.5 * (middle - min(best)), min(best) + 0.1))
    return padded([min(best), high], 0.08)


def sensitivity(
    sweeps: Sequence[Sweep],
    levels: Sequence[Level],
    *,
    limits: Limits,
    colours: dict[str, str],
    title: str,
    name: str,
    label: str,
    unit: str = PER_TOKEN,
) -> str:
    """The SVG of one panel; `unit` is that of the losses."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        markers = markers_of(colours)
        entries: list[tuple[Any, str]] = [
            (_sweep(axes, sweep, colours[sweep.label], markers[sweep.label], limits), shortened(sweep.label))
            for sweep in sweeps
        ]
        for level, dashes in zip(levels, dashes_of(level.label for level in levels).values(), strict=True):
            line = axes.axhline(level.loss, color=INK, linewidth=1.1, linestyle=(0, dashes))
            entries.append((line, shortened(level.label)))
        axes.set_ylim(*limits)
        log_ticks(axes, [tried.rate for sweep in sweeps for tried in sweep.tried])
        axes.set_title(shortened(title, 40), loc="left", fontweight="bold")
        axes.set_xlabel("learning rate (unit of each optimizer)")
        axes.set_ylabel(f"{LOSS} ({unit})")
        axes.grid()
        if unit == PER_TOKEN:
            perplexity_beside(axes)
        legend_below(figure, entries, columns=2)

    rows = (len(sweeps) + len(levels) + 1) // 2
    return draw(paint, width=350, height=235 + 15 * rows, name=name, label=label)


def _sweep(axes: Axes, sweep: Sweep, colour: str, marker: str, limits: Limits) -> Any:
    top = limits[1] - 0.02 * (limits[1] - limits[0])
    means = [
        (tried.rate, sum(finite) / len(finite), tried.of == sweep.most)
        for tried in sweep.tried
        if (finite := [loss for loss in tried.losses if can_be_drawn(loss)])
    ]
    for tried in sweep.tried:
        inside = [min(loss, top) for loss in tried.losses if can_be_drawn(loss)]
        axes.plot([tried.rate] * len(inside), inside, ".", color=colour, alpha=0.5, markersize=5)
        if tried.diverged:
            axes.plot([tried.rate], [top], "x", color=colour, markersize=7, clip_on=False)
            axes.annotate(
                f"{tried.diverged}/{tried.of}", (tried.rate, top), xytext=(0, 6), textcoords="offset points",
                ha="center", va="bottom", fontsize=8, color=colour, annotation_clip=False,
            )  # fmt: skip
    few = [(rate, min(loss, top)) for rate, loss, is_full in means if not is_full]
    axes.plot([x for x, _ in few], [y for _, y in few], marker, color=colour, markersize=5, markerfacecolor="none")
    rates, losses = [x for x, _, is_full in means if is_full], [min(y, top) for _, y, is_full in means if is_full]
    (handle,) = axes.plot(rates, losses, marker + "-", color=colour, markersize=5)
    chosen = [(rate, loss) for rate, loss in zip(rates, losses, strict=True) if rate == sweep.chosen]
    for rate, loss in chosen:
        axes.plot([rate], [loss], "o", markersize=11, markerfacecolor="none", markeredgecolor=colour)
    return handle

"""The figures of a report as matplotlib figures, to be shown, changed or saved."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altgrad_core.errors import ManifestError
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.figures.axes import LOSS
from altgrad_core.experiments.figures.canvas import figure_of
from altgrad_core.experiments.figures.curves import curves_painter, limits_of
from altgrad_core.experiments.figures.forest import forest_painter
from altgrad_core.experiments.figures.number_line import Occupied, number_line_painter
from altgrad_core.experiments.report.sections.effects import forest_axis, forest_rows
from altgrad_core.experiments.report.sections.losses import TRAINING, curves_of, is_evaluated
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.report.weights import Unseen, last_weights
from altgrad_core.registry.registry import installed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 3


def _scaled(format: str, weights: Any) -> Occupied:
    """Weights divided by the scale that puts the largest on the largest value of a format."""
    import numpy as np

    grid = installed().get("format", format).grid
    array = np.asarray(weights.detach().cpu().float() if hasattr(weights, "detach") else weights, dtype=np.float64)
    finite = array[np.isfinite(array)]
    if not finite.size:
        raise ManifestError("numberline: weights: none of them is finite; give an array of numbers")
    return Occupied.of(grid.values, finite * (grid.largest / (np.abs(finite).max() or 1.0)))


@dataclass(frozen=True)
class Plot:
    """Figures of a run or a study."""

    analysis: Analysis

    def forest(self) -> Figure:
        """What each optimizer gains over the baseline in each format, with intervals.

        Raises:
            ManifestError: no pair of runs has ended.
        """
        view = View(self.analysis)
        if not (rows := forest_rows(view)):
            raise ManifestError(
                f"{self.analysis.study.directory}: no pair of runs has ended, so there is no effect to draw"
            )
        painter = forest_painter(rows, axis=forest_axis(view), colours=view.colours)
        return figure_of(painter.paint, width=painter.width, height=painter.height)

    def numberline(self, format: str, *, weights: Any = None) -> Figure:
        """The values of a format as strokes, the weights under them, and the share of weights on each of them.

        Args:
            format: its name.
            weights: an array or tensor, which is scaled so that its largest magnitude is the largest value of the
                format; by default those of the first run whose last checkpoint has weights in this format.

        Raises:
            PluginError: there is no such format.
            ManifestError: no run has such weights, or none of those given is finite.
        """
        result = self._recorded(format) if weights is None else _scaled(format, weights)
        painter = number_line_painter(result, title=format)
        return figure_of(painter.paint, width=painter.width, height=painter.height)

    def _recorded(self, format: str) -> Occupied:
        for result in self.analysis.study.results:
            with suppress(Unseen):
                for seen in last_weights(result.directory):
                    if seen.format == format:
                        return seen.occupied
        raise ManifestError(
            f"{self.analysis.study.directory}: no run has a checkpoint with weights in {format}; give some: "
            f'numberline("{format}", weights=...)'
        )

    def curves(self, *, columns: int | None = None) -> Figure:
        """The loss by step at the chosen rates, a panel for each format.

        Args:
            columns: the most panels beside each other; 3 by default.

        Raises:
            ManifestError: no run at a chosen rate has recorded a loss.
        """
        view = View(self.analysis)
        evaluated = is_evaluated(view)
        drawn = [(place, curves_of(view, place, evaluated)) for place in view.places]
        drawn = [(place, curves) for place, curves in drawn if any(curve.runs or curve.diverged for curve in curves)]
        if not drawn:
            raise ManifestError(
                f"{self.analysis.study.directory}: no run has recorded a loss, so there is no curve to draw"
            )
        limits = limits_of([curve for _, curves in drawn for curve in curves])
        levels = view.study.reference_losses if evaluated else {}
        axis = f"{LOSS if evaluated else TRAINING} ({view.study.unit})"
        painters = [
            curves_painter(curves, levels=levels, limits=limits, colours=view.colours, title=place.title, axis=axis)
            for place, curves in drawn
        ]
        columns = min(len(painters), columns or MOST_COLUMNS)
        rows = -(-len(painters) // columns)

        def paint(figure: Figure) -> None:
            panels = figure.subfigures(rows, columns, squeeze=False).flat
            for panel, painter in zip(panels, painters, strict=False):
                painter.paint(panel)

        height = max(painter.height for painter in painters)
        return figure_of(paint, width=350 * columns, height=height * rows)

"""The figures of a report as matplotlib figures, to be shown, changed or saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from altgrad_core.errors import ManifestError
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.figures.axes import LOSS
from altgrad_core.experiments.figures.canvas import figure_of
from altgrad_core.experiments.figures.curves import curves_painter, limits_of
from altgrad_core.experiments.figures.forest import forest_painter
from altgrad_core.experiments.report.sections.effects import forest_axis, forest_rows
from altgrad_core.experiments.report.sections.losses import TRAINING, curves_of, is_evaluated
from altgrad_core.experiments.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 3


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

    def curves(self) -> Figure:
        """The loss by step at the chosen rates, a panel for each format.

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
        axis = LOSS if evaluated else TRAINING
        painters = [
            curves_painter(curves, limits=limits, colours=view.colours, title=place.title, axis=axis)
            for place, curves in drawn
        ]
        columns = min(len(painters), MOST_COLUMNS)
        rows = -(-len(painters) // columns)

        def paint(figure: Figure) -> None:
            panels = figure.subfigures(rows, columns, squeeze=False).flat
            for panel, painter in zip(panels, painters, strict=False):
                painter.paint(panel)

        height = max(painter.height for painter in painters)
        return figure_of(paint, width=350 * columns, height=height * rows)

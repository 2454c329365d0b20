"""Every reading that was recorded, of whichever monitor: its course over the steps, and its mean for every arm."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.contracts.reading import Reading
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.figures.curves import Curve, limits_of, loss_curves
from altgrad_core.experiments.figures.palette import colours_of
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, file_name, table_of
from altgrad_core.experiments.report.traces import Trace, traces
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.experiments.study.study import Result

MOST_PANELS, MOST_LINES = 12, 6
CAPTION = (
    "How to read it: the mean over the layers, by step, of one run for each line, at its chosen rate. Every panel has a "
    "scale of its own."
)


def readings_blocks(view: View) -> list[Block]:
    """Curves of the readings that are drawn over steps, and a table of all."""
    readings = view.analysis.readings()
    if not readings:
        return []
    runs = [(arm, cell) for arm in view.arms if (cell := _run(view, arm)) is not None]
    blocks: list[Block] = [_table(view, readings)]
    lines = [reading for reading in readings if reading.chart == "line"][:MOST_PANELS]
    if panels := _panels(lines, runs[:MOST_LINES]):
        blocks.insert(0, Gallery(tuple(panels), CAPTION, f"Readings over the steps ({len(panels)})"))
    return blocks


def _run(view: View, arm: Arm) -> Result | None:
    return next((cell for cell in view.results(arm) if cell.status == "finished"), None)


def _panels(readings: Sequence[Reading], runs: Sequence[tuple[Arm, Result]]) -> list[Panel]:
    names = [reading.name for reading in readings]
    result = [(arm, traces(cell.records(), names)) for arm, cell in runs]
    colours = colours_of(arm.label for arm, _ in runs)
    panels: list[Panel] = []
    for reading in readings:
        curves = [_curve(arm, by_name[reading.name]) for arm, by_name in result if reading.name in by_name]
        shown = [curve for curve in curves if len(curve.runs[0]) > 1]
        if not shown:
            continue
        name, alt = (
            file_name("reading", len(panels) + 1, reading.name),
            f"{reading.what} by step, mean over the layers.",
        )
        svg = loss_curves(
            shown, limits=limits_of(shown, warm_up=0.0), colours=colours, title=reading.name, name=name, label=alt,
            axis=reading.what,
        )  # fmt: skip
        panels.append(Panel(name, svg, alt))
    return panels


def _curve(arm: Arm, trace: Trace) -> Curve:
    first, last = trace.steps
    columns = len(trace.values[0])
    means = [mean(row[column] for row in trace.values) for column in range(columns)]
    width = (last - first) / max(1, columns - 1)
    points = [(first + width * column, value) for column, value in enumerate(means) if value is not None]
    return Curve(arm.label, (tuple(points),))


def _table(view: View, readings: Sequence[Reading]) -> Block:
    """The mean over layers, steps and the runs at the chosen rates."""
    rows = []
    for arm in view.arms:
        cells = [cell for cell in view.results(arm) if cell.status == "finished"]
        for reading in readings:
            values = [v.mean for cell in cells for v in cell.run_summary.readings.get(reading.name, {}).values()]
            value = mean(value for value in values if value is not None)
            if value is not None:
                rows.append((arm.format, arm.optimizer, arm.variant, reading.name, reading.label, reading.shown(value)))
    columns = ("format", "optimizer", "variant", "reading", "what it is", "mean")
    caption = "Every reading recorded: its mean over the layers, the steps and the runs at the chosen rate."
    return table_of(columns, rows, caption, folded=f"All {len(readings)} readings")

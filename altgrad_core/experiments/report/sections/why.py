"""Why: the effect against what the baseline's runs recorded, a point per pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from altgrad_core.contracts.reading import Reading
from altgrad_core.experiments.evidence.statistics import Correlation, correlation
from altgrad_core.experiments.figures.scatter import Dot, scatter
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, file_name, table_of
from altgrad_core.experiments.report.sections.maps import maps_blocks
from altgrad_core.experiments.report.sections.readings import readings_blocks
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.experiments.study.study import Result
from altgrad_core.experiments.study.wording import count, few, sentence

NAME, TITLE = "why", "Why: effects and readings"
MOST_CAUSES = 12
FEWEST_FORMATS = 5


class Cause(NamedTuple):
    """A reading of the baseline's cells beside the effects: the points, how they go together, of how many grids."""

    reading: str
    what: str
    dots: list[Dot]
    correlation: Correlation | None
    formats: int


def why_section(view: View) -> Section:
    """The causes, then where in the network and when, then every reading."""
    return Section(NAME, TITLE, (*causes_blocks(view), *maps_blocks(view), *readings_blocks(view)))


def causes_blocks(view: View) -> list[Block]:
    """What goes along with the effect: a sentence, a scatter plot per reading, the table of correlations."""
    compared = [reading for reading in view.analysis.readings() if reading.chart != "line"]
    seen = [cause for reading in compared[:MOST_CAUSES] if (cause := _cause(view, reading)).dots]
    blocks: list[Block] = []
    if seen:
        blocks.append(Text(_sentence(seen)))
    if measured := [cause for cause in seen if cause.correlation is not None]:
        blocks += [_scatters(view, measured), _table(measured)]
    if not any(effect.differences for effect in view.effects):
        blocks.append(Text("There is no effect (see above) to compare with readings.", "gap"))
    elif not seen:
        blocks.append(Text("The runs compared recorded no reading by layer: add a monitor to the manifest.", "gap"))
    return blocks


def _cause(view: View, reading: Reading) -> Cause:
    dots: list[Dot] = []
    formats = set()
    same = {other: one for one, other in view.analysis.twins}
    for effect in view.effects:
        if effect.against is None:
            continue
        for seed, difference in zip(effect.seeds, effect.differences, strict=True):
            cell = view.cell(effect.against, rate=effect.against.held_out[seed].rate, seed=seed)
            value = None if cell is None else _average(cell, reading.name)
            if value is not None:
                title = view.title(effect.format, effect.variant)
                dots.append(Dot(value, difference, effect.optimizer, title))
                formats.add(same.get(effect.format, effect.format))
    result = correlation([d.x for d in dots], [d.y for d in dots], independent=len(formats)) if dots else None
    return Cause(reading.name, reading.what, dots, result, len(formats))


def _average(cell: Result, reading: str) -> float | None:
    layers = cell.run_summary.readings.get(reading, {})
    return mean(of_layer.mean for of_layer in layers.values() if of_layer.mean is not None)


def _described(cause: Cause) -> str:
    if cause.correlation is None:
        return "no correlation told"
    result = cause.correlation
    return f"Spearman {result.rho:+.2f}, 95 % interval {result.low:+.2f} to {result.high:+.2f}"


def _sentence(seen: Sequence[Cause]) -> str:
    able = [cause for cause in seen if cause.correlation is not None]
    if not able:
        formats = max(cause.formats for cause in seen)
        return (
            f"With {count(formats, 'format')} compared no correlation is given: runs of one format are alike, so only formats "
            f"count, and {FEWEST_FORMATS} or more are needed."
        )
    clear = [c for c in able if c.correlation and (c.correlation.low > 0 or c.correlation.high < 0)]
    text = "; ".join(f"{cause.what}: {_described(cause)}" for cause in able)
    verdict = (
        f"the effect correlates with {few([cause.what for cause in clear])}"
        if clear
        else "the interval of every correlation includes zero"
    )
    return sentence(f"{verdict} ({text})")


def _scatters(view: View, seen: Sequence[Cause]) -> Gallery:
    panels = []
    for number, cause in enumerate(seen, 1):
        name = file_name(NAME, number, cause.reading)
        alt = f"Effect against {cause.what} of the baseline, {len(cause.dots)} pairs: {_described(cause)}."
        svg = scatter(
            cause.dots, x=f"{cause.what}, of {view.study.baseline}", y=f"effect ({view.study.unit})", note=_described(cause), colours=view.colours,
            name=name, label=alt,
        )  # fmt: skip
        panels.append(Panel(name, svg, alt))
    caption = (
        f"How to read it: a point is one pair of runs. Horizontal: the reading of {view.study.baseline}, as a mean over the "
        "layers and steps of its run. Vertical: the gain of the other optimizer. Runs of one format are alike, so the "
        "interval of the correlation counts formats, not points. A correlation is not a cause."
    )
    return Gallery(tuple(panels), caption)


def _table(seen: Sequence[Cause]) -> Block:
    columns = ("reading", "points", "formats", "Spearman", "95 % interval")
    rows = [
        (
            cause.reading, len(cause.dots), cause.formats, None if cause.correlation is None else cause.correlation.rho,
            None if cause.correlation is None else f"{cause.correlation.low:+.2f} to {cause.correlation.high:+.2f}",
        )
        for cause in seen
    ]  # fmt: skip
    return table_of(columns, rows, "Correlation of each reading of the baseline with the effect.")

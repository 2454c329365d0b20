"""Where in the network and when: heat maps of readings, layer by step."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.contracts.reading import Reading
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.layers import operand_format, role_of
from altgrad_core.experiments.figures.heat import HeatMap, layers_by_step
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Text, file_name
from altgrad_core.experiments.report.traces import Trace, traces
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.experiments.study.study import Result
from altgrad_core.experiments.study.wording import few, listed, sentence, size
from altgrad_core.text import plural

MOST_MAPS = 24

Seen = tuple[Arm, Result, Trace]


def maps_blocks(view: View) -> list[Block]:
    """For each reading a figure with a heat map per arm, of its first seed at the chosen rate."""
    shown: dict[str, list[Seen]] = {}
    readings = view.analysis.readings("heat")
    for arm in [arm for place in view.places for arm in place.arms][:MOST_MAPS]:
        cell = next((cell for cell in view.results(arm) if cell.status == "finished"), None)
        result = {} if cell is None else traces(cell.records(), [reading.name for reading in readings])
        for reading, trace in result.items():
            if cell is not None and trace.range is not None:
                shown.setdefault(reading, []).append((arm, cell, trace))
    blocks: list[Block] = []
    for heat in (reading for reading in readings if reading.name in shown):
        number = 1 + sum(isinstance(block, Gallery) for block in blocks)
        blocks += _maps(view, heat, shown[heat.name], number)
    if not blocks:
        gap = "No reading by layer and step was recorded for heat maps: add a monitor of layers to the manifest."
        return [Text(gap, "gap")]
    return blocks


def _maps(view: View, reading: Reading, result: Sequence[Seen], number: int) -> list[Block]:
    """The figure of one reading, the `number`-th of the section; only the first is open."""
    what = reading.label
    ranges = [trace.range for _, _, trace in result if trace.range]
    low, high = min(least for least, _ in ranges), max(most for _, most in ranges)
    if low == high:
        return [Text(sentence(f"{what} ({reading.name}): {size(low)} in every layer at every observed step"))]
    maps = [
        HeatMap(f"{arm.optimizer} in {view.title(arm.format, arm.variant)}", trace.layers, trace.steps, trace.values)
        for arm, _, trace in result
    ]
    name = file_name("heat", number, reading.name)
    alt = " ".join(_heat_alt(what, arm, cell, trace) for arm, cell, trace in result)
    svg = layers_by_step(maps, limits=(low, high), what=f"{what} ({reading.name})", name=name, label=alt)
    seeds = dict.fromkeys(f"{cell.seed}" for _, cell, _ in result)
    caption = (
        f"How to read it: {what} ({reading.name}) by layer, from the first on top, and by step; all panels share "
        "one scale of "
        f"colours, {size(low)} to {size(high)}. One run each, at the chosen rate (seed {few(list(seeds))})."
        f"{_operands(view, result, role_of(reading.name))}"
    )
    return [Gallery((Panel(name, svg, alt),), caption, "" if number == 1 else f"Heat maps of {what}")]


def _operands(view: View, result: Sequence[Seen], role: str) -> str:
    """The formats of the operand that a reading is of, where that is not the one in the titles."""
    places = dict.fromkeys((arm.format, arm.variant) for arm, _, _ in result)
    own = {(f, v): operand_format(view.study, role, format=f, variant=v) for f, v in places}
    if role == "weight" or all(name in format.split("/") for (format, _), name in own.items()):
        return ""
    names = list(dict.fromkeys(own.values()))
    return f" Formats of the {plural(role)}: {listed(names) if len(names) > 1 else names[0] + ' throughout'}."


def _heat_alt(what: str, arm: Arm, cell: Result, trace: Trace) -> str:
    rows = [(mean(row), layer) for layer, row in zip(trace.layers, trace.values, strict=True)]
    known = [(value, layer) for value, layer in rows if value is not None]
    value, layer = max(known)
    return f"{what} by layer and step, {arm.label}, seed {cell.seed}: highest on average in {layer}, {size(value)}."

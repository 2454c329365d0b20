"""Where in the network and when: heat maps of readings, layer by step."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.contracts.reading import Reading
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.layers import operand_format, role_of
from altgrad_core.experiments.figures.heat import layer_by_step
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Text, file_name
from altgrad_core.experiments.report.traces import Trace, traces
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.experiments.study.study import Result
from altgrad_core.experiments.study.wording import few, sentence, size

MOST_MAPS = 24

Seen = tuple[Arm, Result, Trace]


def maps_blocks(view: View) -> list[Block]:
    """For each reading a heat map per arm, of its first seed at the chosen rate."""
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
        is_first = not any(isinstance(block, Gallery) for block in blocks)
        blocks += _maps(view, heat, shown[heat.name], is_open=is_first)
    if not blocks:
        gap = "No reading by layer and step was recorded for heat maps: add a monitor of layers to the manifest."
        return [Text(gap, "gap")]
    return blocks


def _maps(view: View, reading: Reading, result: Sequence[Seen], *, is_open: bool) -> list[Block]:
    what = reading.label
    ranges = [trace.range for _, _, trace in result if trace.range]
    low, high = min(least for least, _ in ranges), max(most for _, most in ranges)
    if low == high:
        return [Text(sentence(f"{what} ({reading.name}): {size(low)} in every layer at every step that was looked at"))]
    panels = []
    for number, (arm, cell, trace) in enumerate(result, 1):
        name, alt = (
            file_name(f"heat-{reading.name}", number, f"{arm.format}-{arm.optimizer}"),
            _heat_alt(what, arm, cell, trace),
        )
        svg = layer_by_step(
            trace.values, layers=trace.layers, steps=trace.steps, limits=(low, high), unit=reading.name,
            title=_title(view, arm, role_of(reading.name)), name=name, label=alt,
        )  # fmt: skip
        panels.append(Panel(name, svg, alt))
    seeds = dict.fromkeys(f"{cell.seed}" for _, cell, _ in result)
    caption = (
        f"How to read it: {what} ({reading.name}) by layer, from the first on top, and by step; all panels share one scale of "
        f"colours, {size(low)} to {size(high)}. One run each, at the chosen rate (seed {few(list(seeds))})."
    )
    return [Gallery(tuple(panels), caption, "" if is_open else f"Heat maps of {what} ({len(panels)})")]


def _title(view: View, arm: Arm, role: str) -> str:
    """The optimizer, and the format of the operand that the reading is of where that is not the one in the label."""
    text = view.title(arm.format, arm.variant)
    own = operand_format(view.study, role, format=arm.format, variant=arm.variant)
    is_in_label = own in arm.format.split("/") or role == "weight"
    return f"{arm.optimizer} in {text}" if is_in_label else f"{arm.optimizer}, {role}s {own}, weights {text}"


def _heat_alt(what: str, arm: Arm, cell: Result, trace: Trace) -> str:
    rows = [(mean(row), layer) for layer, row in zip(trace.layers, trace.values, strict=True)]
    known = [(value, layer) for value, layer in rows if value is not None]
    value, layer = max(known)
    return f"{what} by layer and step, {arm.label}, seed {cell.seed}: highest on average in {layer}, {size(value)}."

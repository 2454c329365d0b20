"""The number line of each format with the weights of one run under it, and how its codes are used."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.experiments.figures.number_line import number_line
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, file_name, table_of
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.report.weights import Seen, Unseen, last_weights
from altgrad_core.experiments.study.study import Result
from altgrad_core.experiments.study.wording import few, sentence

NAME, TITLE = "lines", "Number lines and code use"
Row = tuple[Result, Seen]


def lines_section(view: View) -> Section:
    """A panel for every format in which a checkpoint holds weights."""
    result, missing = _look(view)
    blocks: list[Block] = []
    if result:
        blocks += [Text(_sentence(result)), _gallery(result), _table(result)]
    blocks += [Text(f"{name}: {why}.", "gap") for name, why in missing.items()]
    if not blocks:
        gap = "No cell in a format of few enough rungs has finished, so there are no weights to show."
        blocks.append(Text(gap, "gap"))
    return Section(NAME, TITLE, tuple(blocks))


def _look(view: View) -> tuple[list[Row], dict[str, str]]:
    """For every format label the first finished cell whose weights can be read, the baseline's before the others."""
    result: list[Row] = []
    missing: dict[str, str] = {}
    for label in dict.fromkeys(place.format for place in view.places if not view.is_wide(place.format)):
        arms = [arm for arm in view.arms if arm.format == label]
        arms.sort(key=lambda arm: arm.optimizer != view.study.baseline)
        cells = [cell for arm in arms for cell in view.results(arm) if cell.status == "finished"]
        why = "no cell has finished, so there are no weights to show"
        for cell in cells[:3]:
            try:
                result += [(cell, seen) for seen in last_weights(cell.directory, view.analysis.format_facts)]
                break
            except Unseen as error:
                why = f"{error} (looked at {cell.name})"
        else:
            missing[label] = why
    seen_formats: dict[str, Row] = {}
    for cell, seen in result:
        seen_formats.setdefault(seen.format, (cell, seen))
    return list(seen_formats.values()), missing


def _sentence(result: Sequence[Row]) -> str:
    ordered = sorted((seen for _, seen in result), key=lambda seen: -seen.used / seen.rungs)
    return sentence(
        "rungs in use at the end of training: "
        + ", ".join(f"{s.format} {s.used} of {s.rungs} ({s.entropy:.1f} bits of information a weight)" for s in ordered)
    )


def _gallery(result: Sequence[Row]) -> Gallery:
    panels = []
    for number, (cell, seen) in enumerate(result, 1):
        name = file_name(NAME, number, seen.format)
        alt = (
            f"Number line of {seen.format} with {seen.weights:,} weights of {cell.name} at step {seen.step}: "
            f"{seen.used} of {seen.rungs} rungs in use."
        )
        panels.append(Panel(name, number_line(seen.occupied, title=seen.format, name=name, label=alt), alt))
    caption = (
        "How to read it: every line on top is a rung, a value of the format, in colour if it is the nearest rung of at least "
        "one weight. Below are the weights, divided by the scale of their layer, on the same axis, which ends with the "
        "weights. At the bottom is the share of weights on each rung, with rungs counted from zero: the more "
        f"even, the better the use of the codes. One run each: {few([cell.name for cell, _ in result], most=12)}."
    )
    return Gallery(tuple(panels), caption)


def _table(result: Sequence[Row]) -> Block:
    columns = (
        "format",
        "rungs in use",
        "rungs",
        "share",
        "bits of information a weight",
        "weights",
        "layers",
        "cell",
        "step",
    )
    rows = [
        (s.format, s.used, s.rungs, s.used / s.rungs, s.entropy, f"{s.weights:,}", s.layers, cell.name, s.step)
        for cell, s in result
    ]
    text = "Code use: the entropy of the shares of the rungs. Its maximum, with equal shares, is log2 of their number."
    return table_of(columns, rows, text)

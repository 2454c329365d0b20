"""The sweet spot: which format suits which type of layer, from readings by layer."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.experiments.evidence.layers import LayerMean, by_layer_type, recipe_sentences
from altgrad_core.experiments.evidence.wording import few, sentence
from altgrad_core.experiments.figures.heat import number_table
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, file_name
from altgrad_core.experiments.report.view import View

NAME, TITLE = "layers", "Sweet spot by layer type"
CAPTION = (
    "How to read it: each cell is the mean over the layers of a type, over the whole run, all optimizers at their chosen "
    "rates and all seeds that finished. It tells what a format does to a layer, not what that costs in loss."
)
READINGS = (
    ("quantization-sqnr", "signal to rounding noise of the weights (dB)", "higher"),
    ("stall-ratio", "share of updates that change no code", "lower"),
    ("weight-underflow-rate", "share of weights rounded to zero", "lower"),
    ("gradient-underflow-rate", "share of output gradients rounded to zero", "lower"),
    ("code-use", "share of the rungs that are in use", "higher"),
)


def layers_section(view: View) -> Section:
    """What recipes cost that treat layers differently, and for every telling reading a table of types by formats."""
    recipes: list[Block] = [Text(told) for told in recipe_sentences(view.study)]
    if not recipes:
        gap = "No two recipes treat layers differently: add rules for some layers to the matrix to see what that costs."
        recipes = [Text(gap, "gap")]
    means = [found for found in by_layer_type(view.study) if not view.is_wide(found.format)]
    tables = [(reading, what, better, _table(means, reading)) for reading, what, better in READINGS]
    seen = [row for row in tables if row[3]]
    if not seen:
        names = few([reading for reading, _, _ in READINGS])
        gap = f"No reading by layer was recorded that tells formats apart ({names}): add a monitor that reports one of them."
        return Section(NAME, TITLE, (*recipes, Text(gap, "gap")))
    sentences = [Text(_sentence(table, what, better)) for _, what, better, table in seen]
    panels = [_panel(table, reading, what, number) for number, (reading, what, _, table) in enumerate(seen, 1)]
    return Section(NAME, TITLE, (*recipes, *sentences, Gallery(tuple(panels), CAPTION)))


Table = dict[str, dict[str, float]]  # layer type -> format -> mean


def _table(means: Sequence[LayerMean], reading: str) -> Table:
    """The mean over the optimizers and variants of a format, by type of layer; types in order of appearance."""
    values: dict[str, dict[str, list[float]]] = {}
    for found in means:
        if found.reading == reading:
            values.setdefault(found.type, {}).setdefault(found.format, []).append(found.mean)
    return {kind: {name: sum(v) / len(v) for name, v in row.items()} for kind, row in values.items()}


def _sentence(table: Table, what: str, better: str) -> str:
    choose = max if better == "higher" else min
    told = []
    for kind, row in table.items():
        best = choose(row, key=lambda name: row[name])
        alike = [name for name in row if row[name] == row[best]]
        told.append(f"{kind} {' and '.join(alike)} ({row[best]:.3g})")
    if max(len(row) for row in table.values()) < 2:
        return sentence(f"{what}, in the only format: {', '.join(told)}")
    return sentence(f"{what}, {better} is better; best: {', '.join(told)}")


def _panel(table: Table, reading: str, what: str, number: int) -> Panel:
    formats = list(dict.fromkeys(name for row in table.values() for name in row))
    nan = float("nan")
    values = [[row.get(name, nan) for name in formats] for row in table.values()]
    texts = [[f"{row[name]:.3g}" if name in row else "" for name in formats] for row in table.values()]
    name = file_name(NAME, number, reading)
    alt = f"{reading} by layer type and format. " + "; ".join(
        f"{kind}: {', '.join(f'{form} {value:.3g}' for form, value in row.items())}" for kind, row in table.items()
    )
    svg = number_table(
        values, rows=list(table), columns=formats, texts=texts, unit=reading, title=what, name=name, label=alt
    )
    return Panel(name, svg, alt)

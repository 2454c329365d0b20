"""The sweet spot: which format suits which type of layer, from readings by layer."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.layer import PRODUCT
from altgrad_core.contracts.reading import Reading
from altgrad_core.experiments.evidence.layers import (
    LayerMean,
    comparable,
    operand_format,
    role_of,
)
from altgrad_core.experiments.evidence.recipes import recipe_sentences
from altgrad_core.experiments.figures.heat import number_table
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, file_name
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.labels import UNQUANTIZED
from altgrad_core.experiments.study.wording import listed, sentence
from altgrad_core.text import plural

NAME, TITLE = "layers", "Sweet spot by layer type"
CAPTION = (
    "How to read it: each cell is the mean over the layers of a type, over the whole run and all seeds that finished, at "
    "the chosen rates of {optimizers}{variant}. It shows what a format does to a layer, not what that costs in loss. "
    "Each column is a format of the operand that the reading describes. {operands}"
)
MOST_READINGS = 12


def layers_section(view: View) -> Section:
    """What recipes cost that treat layers differently, and for every telling reading a table of types by formats."""
    recipes: list[Block] = [Text(text) for text in recipe_sentences(view.analysis)]
    if not recipes:
        gap = (
            "No two recipes with one optimizer and finished runs treat layers differently: add rules for some layers to the "
            "matrix to see what that costs."
        )
        recipes = [Text(gap, "gap")]
    readings = view.analysis.layer_means
    means = comparable([result for result in readings if not view.is_wide(result.format)], view.study.baseline)
    compared = view.analysis.readings("heat", "bar")[:MOST_READINGS]
    seen = [(reading, table) for reading in compared if (table := _table(view, means, reading.name))]
    if not seen:
        gap = "No recorded reading by layer differs between formats: add a monitor of layers to the manifest."
        return Section(NAME, TITLE, (*recipes, Text(gap, "gap")))
    sentences = [Text(_sentence(table, reading)) for reading, table in seen]
    panels = [_panel(table, reading, number) for number, (reading, table) in enumerate(seen, 1) if _has_several(table)]
    galleries = [Gallery(tuple(panels), _caption(view, means))] if panels else []
    return Section(NAME, TITLE, (*recipes, *sentences, *galleries))


def _has_several(table: Means) -> bool:
    """Whether there are several formats and different values, so that the table shows more than the sentence."""
    formats = {name for row in table.values() for name in row}
    return len(formats) > 1 and len({value for row in table.values() for value in row.values()}) > 1


Means = dict[str, dict[str, float]]  # layer type -> format of the operand -> mean


def _table(view: View, means: Sequence[LayerMean], reading: str) -> Means:
    """The mean over the optimizers, by type of layer and format of the operand; types in order of appearance."""
    columns = _columns(view, means, role_of(reading))
    values: dict[str, dict[str, list[float]]] = {}
    for result in means:
        if result.reading == reading:
            values.setdefault(result.type, {}).setdefault(columns[result.format], []).append(result.mean)
    return {kind: {name: sum(v) / len(v) for name, v in row.items()} for kind, row in values.items()}


def _columns(view: View, means: Sequence[LayerMean], role: str) -> dict[str, str]:
    """By label, the format of the operand; the whole label where another operand varies beside it."""
    places = dict.fromkeys((result.format, result.variant) for result in means)
    own = {format: operand_format(view.study, role, format=format, variant=variant) for format, variant in places}
    is_told = len(set(own.values())) in (1, len(own))
    return own if is_told else {format: format for format in own}


def _caption(view: View, means: Sequence[LayerMean]) -> str:
    parts = []
    for role in ROLES:
        names = list(dict.fromkeys(_operands(view, means, role)))
        if role not in PRODUCT and names == [UNQUANTIZED]:
            continue
        parts.append(f"{plural(role)}: {names[0] + ' throughout' if len(names) == 1 else listed(names)}")
    optimizers = listed(list(dict.fromkeys(result.optimizer for result in means)))
    variant = f", variant {means[0].variant}" if means[0].variant else ""
    return CAPTION.format(optimizers=optimizers, variant=variant, operands=f"Formats of the {'; of the '.join(parts)}.")


def _operands(view: View, means: Sequence[LayerMean], role: str) -> list[str]:
    places = dict.fromkeys((result.format, result.variant) for result in means)
    return [operand_format(view.study, role, format=format, variant=variant) for format, variant in places]


def _sentence(table: Means, reading: Reading) -> str:
    """The best format for each type; no ranking where the format of the operand does not vary, or none is better."""
    choose, better = (min, "lower") if reading.worse == "up" else (max, "higher")
    what, role = reading.what, role_of(reading.name)
    formats = list(dict.fromkeys(name for row in table.values() for name in row))
    if len(formats) == 1:
        parts = [f"{kind} {row[formats[0]]:.3g}" for kind, row in table.items()]
        return sentence(f"{what}, in {formats[0]}, the only format of the {plural(role)}: {', '.join(parts)}")
    if reading.worse is None:
        parts = [f"{kind} {', '.join(f'{row[name]:.3g} in {name}' for name in row)}" for kind, row in table.items()]
        return sentence(f"{what}, by format of the {plural(role)}: {'; '.join(parts)}")
    parts = []
    for kind, row in table.items():
        best = choose(row, key=lambda name: row[name])
        alike = [name for name in row if row[name] == row[best]]
        beside = "" if len(row) > 1 else ", its only format"
        parts.append(f"{kind} {' and '.join(alike)} ({row[best]:.3g}{beside})")
    return sentence(f"{what}, {better} is better; best format of the {plural(role)}: {', '.join(parts)}")


def _panel(table: Means, reading: Reading, number: int) -> Panel:
    formats = list(dict.fromkeys(name for row in table.values() for name in row))
    nan = float("nan")
    values = [[row.get(name, nan) for name in formats] for row in table.values()]
    texts = [[f"{row[name]:.3g}" if name in row else "" for name in formats] for row in table.values()]
    name = file_name(NAME, number, reading.name)
    alt = f"{reading.name} by layer type and format of the {plural(role_of(reading.name))}. " + "; ".join(
        f"{kind}: {', '.join(f'{form} {value:.3g}' for form, value in row.items())}" for kind, row in table.items()
    )
    svg = number_table(
        values,
        rows=list(table),
        columns=formats,
        texts=texts,
        unit=reading.name,
        title=reading.what,
        name=name,
        label=alt,
    )
    return Panel(name, svg, alt)

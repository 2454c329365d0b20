"""The page of an advice: what is advised, why, and what else was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from altgrad_core.experiments.figures.front import Dot, front
from altgrad_core.experiments.figures.palette import COLOURS
from altgrad_core.experiments.report.blocks import Block, Gallery, Page, Panel, Section, Text, TextTable, table_of
from altgrad_core.running.evaluation.advise import Advice, Point
from altgrad_core.running.evaluation.sensitivity import Option, Sensitivity

ADVISED, MIXED, UNIFORM = "advised", "mixed", "uniform"


def advice_page(advice: Advice, *, name: str, files: Sequence[tuple[str, str]]) -> Page:
    """The whole page."""
    from altgrad_core import __version__

    point = advice.advised
    heading = f"{point.bits:.2f} bits at {point.loss - advice.plain:+.4f} {advice.unit or 'in loss'}".strip()
    sections = (
        Section("recipes", "Recipes that were measured", (_points(advice),)),
        Section("layers", "What each layer gets, and why", (_layers(advice),)),
        Section("kinds", "By kind of layer", (_kinds(advice),)),
        Section("method", "How it was found", (Text(_method(advice)),)),
    )
    subject = f"Advice for {name} within {advice.budget}. Made by AltGrad {__version__}."
    return Page(
        f"{name}: advice",
        heading,
        _cautions(advice),
        subject,
        (_figure(advice), _short(advice)),
        sections,
        tuple(files),
    )


def sentence(advice: Advice) -> str:
    """The advice in one sentence."""
    point = advice.advised
    kind = f"{point.name} everywhere" if point.is_uniform else f"a mix of {_formats(point)}"
    return (
        f"Within {advice.budget}: {kind}, {point.bits:.2f} bits, validation loss {point.loss:.4f} "
        f"({point.loss - advice.plain:+.4f} against the model as it is). {_against_uniform(advice)}"
    )


def _against_uniform(advice: Advice) -> str:
    if advice.beaten_by:
        best = min(advice.beaten_by, key=lambda p: p.loss)
        return f"On the validation batches {best.name} everywhere is better, by {advice.advised.loss - best.loss:.4f}."
    if not advice.rivals:
        return "No other uniform recipe has as few bits."
    best = min(advice.rivals, key=lambda p: p.loss)
    return (
        f"The best other uniform recipe within the bits, {best.name}, has {best.loss - advice.advised.loss:.4f} more."
    )


def _cautions(advice: Advice) -> tuple[str, ...]:
    result = [
        f"Losses are those after {_steps(advice)} of gradient descent from where the model is. A run has to show that "
        "the recipe trains."
        if advice.descent.steps
        else "Losses are those of an evaluation: nothing was trained in these formats, and gradients were not rounded. A "
        "recipe for training needs a rule for gradients, and a run that shows that it trains."
    ]
    if advice.beaten_by:
        result.insert(0, _against_uniform(advice))
    return tuple(result)


def _figure(advice: Advice) -> Block:
    dots = [
        Dot(p.bits, p.loss, ADVISED if p is advice.advised else UNIFORM if p.is_uniform else MIXED)
        for p in advice.points
    ]
    colours = {UNIFORM: COLOURS[0], MIXED: COLOURS[1], ADVISED: COLOURS[2]}
    label = "Bits against validation loss of every recipe that was measured"
    svg = front(dots, plain=advice.plain, unit=advice.unit, colours=colours, name="front", label=label)
    text = "Every recipe that was measured; lines join those that no recipe of their kind with fewer bits beats. Dashed: unquantized."
    return Gallery((Panel("front", svg, label),), text)


def _short(advice: Advice) -> Block:
    return Text(sentence(advice))


def _points(advice: Advice) -> TextTable:
    rows = [
        (
            p.name,
            ADVISED if p is advice.advised else "",
            f"{p.bits:.2f}",
            p.loss,
            f"{p.loss - advice.plain:+.4f}",
            p.seen,
        )
        for p in advice.points
    ]
    columns = ("recipe", "", "bits", "validation loss", "above unquantized", "calibration loss")
    return table_of(
        columns, rows, "By bits. Recipes are chosen by the calibration loss; the validation loss took no part in it."
    )


def _layers(advice: Advice) -> TextTable:
    rows = []
    for operand in advice.operands:
        taken = _taken(advice, operand)
        rows.append(
            (
                operand.layer,
                operand.role,
                str(taken),
                f"{taken.bits:.2f}",
                f"{taken.above:+.4f}",
                reason(operand, taken),
            )
        )
    columns = ("layer", "role", "gets", "bits", "loss above, alone", "why")
    return table_of(columns, rows, "What each operand costs when it alone is quantized, on the calibration batches.")


def reason(operand: Sensitivity, taken: Option) -> str:
    """Why an operand gets this: what less would cost, and what more would gain."""
    smaller = [option for option in operand.options if option.bits < taken.bits]
    larger = [option for option in operand.options if option.bits > taken.bits]
    parts = []
    if smaller:
        best = min(smaller, key=lambda option: option.above)
        parts.append(f"{best} costs {best.above - taken.above:+.4f} more")
    if larger:
        best = min(larger, key=lambda option: option.above)
        gain = taken.above - best.above
        parts.append(f"{best} gains {gain:.4f}" if gain > 0 else "nothing larger gains")
    return "; ".join(parts)


def _taken(advice: Advice, operand: Sensitivity) -> Option:
    quantizer = advice.advised.chosen[operand.layer][operand.role]
    return next(option for option in operand.options if option.quantizer == quantizer)


def _kinds(advice: Advice) -> TextTable:
    """Layers whose paths differ only in numbers are of one kind."""

    def key(operand: Sensitivity) -> tuple[str, str]:
        return re.sub(r"\d+", "*", operand.layer), operand.role

    rows = []
    for (kind, role), group in groupby(sorted(advice.operands, key=key), key=key):
        members = list(group)
        taken = [_taken(advice, operand) for operand in members]
        bits = sum(option.bits for option in taken) / len(taken)
        worst = max(min(option.above for option in operand.options) for operand in members)
        rows.append(
            (kind, role, len(members), f"{bits:.2f}", ", ".join(dict.fromkeys(map(str, taken))), f"{worst:+.4f}")
        )
    columns = ("layers", "role", "operands", "bits, mean", "get", "least cost, worst layer")
    return table_of(columns, rows)


def _formats(point: Point) -> str:
    quantizers: Iterator = (q for roles in point.chosen.values() for q in roles.values())  # type: ignore[type-arg]
    return ", ".join(dict.fromkeys(q.target.name for q in quantizers))


def _method(advice: Advice) -> str:
    evaluations = sum(len(operand.options) for operand in advice.operands)
    return (
        f"Each of {len(advice.operands)} operands was quantized alone in each way, {evaluations} evaluations on the calibration "
        "batches. As if costs added up, each recipe takes the steps that gain most for a bit. Then "
        f"{len(advice.points)} recipes, mixed and uniform, were measured whole on the same batches, and the best within the budget was taken: a mixed one "
        "only where its gain over the best uniform one is above its standard error over batches. Bits are "
        "the mean over operands, scales included; each counts by the multiply-adds of its product, which of a layer are taken "
        f"as the elements of its weight.{_descent(advice)}"
    )


def _descent(advice: Advice) -> str:
    rate = advice.descent.rate
    if not advice.descent.steps:
        return ""
    return (
        f" Every loss is the one after {_steps(advice)} of plain gradient descent on the calibration batches, with gradients "
        f"rounded stochastically, from the same weights each time; the rate, {rate:.3g}, is the best of those tried for the model as it is."
    )


def _steps(advice: Advice) -> str:
    steps = advice.descent.steps
    return f"{steps} step{'s' if steps > 1 else ''}"

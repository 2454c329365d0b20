"""The paired effect of every optimizer against the baseline, per format."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.experiments.evidence.arms import FEWEST_SEEDS, Arm
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.evidence.refusals import rates_short_of
from altgrad_core.experiments.evidence.statistics import shown_interval
from altgrad_core.experiments.figures.forest import ForestRow, forest
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, TextTable, file_name, table_of
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.interval import Interval
from altgrad_core.experiments.study.wording import count, decimals

NAME, TITLE = "effects", "Effect against the baseline"
COLUMNS = (
    "format", "variant", "optimizer", "pairs", "effect", "95 % interval (BCa)", "95 % interval (t)",
    "p", "p corrected", "verdict", "caution",
)  # fmt: skip


def effects_section(view: View) -> Section:
    """The table behind the forest plot."""
    result = view.effects
    if not result:
        return Section(NAME, TITLE, (Text(_why_none(view), "gap"),))
    drawn = [effect for effect in result if effect.differences]
    blocks: list[Block] = [Text("The forest plot at the head of the page shows these.")] if drawn else []
    if silent := [effect for effect in result if not effect.differences]:
        names = ", ".join(f"{effect.optimizer} in {effect.format}" for effect in silent)
        blocks.append(Text(f"No pair of runs ended for {names}, so there is no effect to show.", "gap"))
    blocks.append(_table(view, result))
    return Section(NAME, TITLE, tuple(blocks))


def forest_block(view: View) -> Gallery | None:
    """The forest plot; None where no pair has ended."""
    drawn = [effect for effect in view.effects if effect.differences]
    return Gallery((_panel(view),), _caption(view, drawn)) if drawn else None


def _why_none(view: View) -> str:
    if view.study.baseline is None:
        return "No cell names an optimizer and its rate, so nothing can be compared."
    others = [arm for arm in view.arms if arm.optimizer != view.study.baseline]
    if not others:
        return (
            f"Every cell was trained with {view.study.baseline}, so there is nothing to compare it with: "
            "give the matrix an axis with another optimizer."
        )
    return (
        f"No other optimizer was planned in a format in which {view.study.baseline} was too: "
        "cells that are compared share the format, the seed and everything else but the optimizer."
    )


def forest_axis(view: View) -> str:
    """What the forest plot shows."""
    return f"loss of {view.study.baseline} minus its own, {view.study.unit} (right of 0: it helps)"


def forest_rows(view: View) -> list[ForestRow]:
    """A row for every effect of which a pair has ended, in the order of the panels."""
    drawn = [effect for effect in view.effects if effect.differences]
    return [
        ForestRow(
            view.title(effect.format, effect.variant),
            effect.optimizer,
            effect.differences,
            effect.mean or 0.0,
            None if (shown := shown_interval(effect)) is None else shown.low,
            None if shown is None else shown.high,
            _note(effect),
        )
        for effect in _in_order(view, drawn)
    ]


def _panel(view: View) -> Panel:
    rows = forest_rows(view)
    text = "; ".join(f"{row.colour} in {row.group}: {row.mean:+.4f}" for row in rows)
    alt = f"Forest plot of the paired effect on the validation loss. {text}."
    name = file_name(NAME, 1, "forest")
    return Panel(name, forest(rows, axis=forest_axis(view), colours=view.colours, name=name, label=alt), alt)


def _in_order(view: View, drawn: Sequence[Effect]) -> list[Effect]:
    """The effects of one format and variant together, in the order of the panels."""
    places = [(place.format, place.variant) for place in view.places]
    order = list(dict.fromkeys([*places, *((effect.format, effect.variant) for effect in drawn)]))
    return sorted(drawn, key=lambda effect: order.index((effect.format, effect.variant)))


def _note(effect: Effect) -> str:
    pairs = f"n = {len(effect.differences)}"
    return pairs if effect.p_adjusted is None else f"{pairs}, p {effect.p_adjusted:.3g}"


def _caption(view: View, drawn: Sequence[Effect]) -> str:
    tested = sum(effect.p is not None for effect in drawn)
    most = max(len(effect.differences) for effect in drawn)
    dots = "each small dot is one pair of runs with the same seed, the large one their mean" + (
        ", the bar its 95 % interval (BCa bootstrap, below 6 pairs Student's t)"
        if any(effect.interval for effect in drawn)
        else ""
    )
    if most == 1:
        dots = "each dot is one pair of runs with the same seed; one pair has no interval"
    is_held_out = most >= FEWEST_SEEDS and any(len(arm.tried) > 1 for e in drawn for arm in _both(e))
    rates = " Each seed is taken at the rate that the other seeds choose." if is_held_out else ""
    p_values = (
        f"p: exact paired permutation test, corrected for {count(tested, 'comparison')} (Holm)."
        if tested
        else "No p-values: an exact test needs at least 6 pairs."
    )
    return (
        f"How to read it: {dots}. Right of the dashed line the optimizer ends with a lower validation loss than "
        f"{view.study.baseline}.{rates} {p_values}"
    )


def _both(effect: Effect) -> list[Arm]:
    return [arm for arm in (effect.arm, effect.against) if arm is not None]


def verdict(effect: Effect) -> str:
    """What an effect is judged to be; `not judged` where it has too few seeds or rates."""
    if effect.lacks:
        seeds, rates = len(effect.differences), rates_short_of([effect])
        return (
            f"not judged ({count(seeds, 'seed') if seeds < FEWEST_SEEDS or not rates else count(min(rates), 'rate')})"
        )
    return effect.told


def _table(view: View, result: Sequence[Effect]) -> TextTable:
    is_said = all(effect.lacks for effect in result)  # by the first sentence of the page
    rows = []
    for effect in result:
        digits = decimals(effect.interval)
        mean = None if effect.mean is None else f"{effect.mean:+.{digits}f}"
        caution = "; ".join(text for text in effect.caution if not (is_said and text in effect.lacks))
        rows.append((
            effect.format, effect.variant, effect.optimizer, len(effect.differences), mean,
            between(effect.interval, digits), between(effect.student, digits), effect.p, effect.p_adjusted,
            verdict(effect), caution,
        ))  # fmt: skip
    text = f"Effects: the baseline's loss minus the optimizer's, in {view.study.unit}; above zero it helps."
    return table_of(COLUMNS, rows, text)


def between(interval: Interval | None, digits: int) -> str | None:
    """`+0.010 to +0.031`, with so many decimals."""
    return None if interval is None else f"{interval.low:+.{digits}f} to {interval.high:+.{digits}f}"

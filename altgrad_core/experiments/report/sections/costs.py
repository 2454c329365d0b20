"""What every format and variant adds to the loss of its optimizer: a forest plot and a table."""

from __future__ import annotations

from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.costs import Cost
from altgrad_core.experiments.evidence.statistics import shown_interval
from altgrad_core.experiments.figures.forest import ForestRow, forest
from altgrad_core.experiments.report.blocks import Gallery, Panel, TextTable, file_name, table_of
from altgrad_core.experiments.report.sections.effects import between
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.experiments.study.wording import decimals

NAME = "costs"


def costs_forest(view: View) -> Gallery | None:
    """The forest plot of costs; None where there are none."""
    if not view.analysis.costs:
        return None
    rows = [_drawn(view, cost) for cost in view.analysis.costs]
    alt = f"Forest plot of costs. {'; '.join(f'{row.group}: {row.mean:+.4f}' for row in rows)}."
    axis, name = (
        f"validation loss minus that of {_than(view)}, {view.study.unit} (right of 0: it costs)",
        file_name(NAME, 1, "forest"),
    )
    panel = Panel(name, forest(rows, axis=axis, colours=view.colours, name=name, label=alt), alt)
    text = "How to read it: each small dot is a pair of runs with the same seed, the large one their mean"
    bar = (
        ", the bar its 95 % interval (BCa bootstrap, below 6 seeds Student's t)"
        if any(row.low is not None for row in rows)
        else ""
    )
    return Gallery((panel,), f"{text}{bar}. Right of the dashed line the loss is higher than that of {_than(view)}.")


def _drawn(view: View, cost: Cost) -> ForestRow:
    low, high = (None, None) if (shown := shown_interval(cost)) is None else (shown.low, shown.high)
    title, number = view.title(cost.arm.format, cost.arm.variant), f"n = {len(cost.differences)}"
    return ForestRow(title, cost.arm.optimizer, cost.differences, cost.mean, low, high, number)


def _than(view: View) -> str:
    """What the arms are compared with."""
    references = {id(cost.reference): cost.reference for cost in view.analysis.costs}
    return next(iter(references.values())).label if len(references) == 1 else "the reference of each"


def costs_table(view: View) -> TextTable:
    """What every format and variant adds to the loss of its optimizer."""
    by_arm = {id(cost.arm): cost for cost in view.analysis.costs}
    references = {id(cost.reference): cost.reference for cost in view.analysis.costs}
    rows = [_cost(arm, by_arm.get(id(arm)), is_reference=id(arm) in references) for arm in view.arms if arm.of]
    columns: tuple[str, ...] = (
        "format",
        "variant",
        "optimizer",
        "rate",
        "loss",
        "cost",
        "95 % interval",
        "over",
        "verdict",
        "detectable",
    )
    if len(references) == 1:
        rows, columns = [row[:7] + row[8:] for row in rows], columns[:7] + columns[8:]
    text = (
        f"Cost: the validation loss at the chosen rate minus that of {_than(view)}, seed by seed, in {view.study.unit}; below zero it "
        "gains. Detectable: the smallest true cost that so many seeds, scattered like these, show in 80 % of studies."
    )
    if len({point.rate for arm in view.arms for point in arm.tried}) == 1:
        text += " All arms have one learning rate, which may suit some better than others."
    return table_of(columns, rows, text)


def _cost(arm: Arm, cost: Cost | None, *, is_reference: bool) -> tuple[object, ...]:
    digits = decimals(None if cost is None else shown_interval(cost))
    loss, rate = mean(arm.losses.values()), None if arm.rate is None else f"{arm.rate:g}"
    level = f"diverged ({arm.diverged} of {arm.of})" if loss is None else f"{loss:.{digits}f}"
    place = (arm.format, arm.variant, arm.optimizer, rate, level)
    if cost is None:
        return (*place, None, None, None, "reference" if is_reference else None, None)
    over = f"{cost.reference.format}, {cost.reference.variant}" if cost.reference.variant else cost.reference.format
    power = None if cost.detectable is None else f"{cost.detectable:.{digits}f}"
    return (*place, f"{cost.mean:+.{digits}f}", between(shown_interval(cost), digits), over, cost.verdict, power)

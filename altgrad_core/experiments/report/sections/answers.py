"""The answer metric by metric, and the numbers it rests on."""

from __future__ import annotations

import math

from altgrad_core.experiments.evidence.answer import answer
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.effects import PERPLEXITY
from altgrad_core.experiments.figures.axes import PER_TOKEN
from altgrad_core.experiments.report.blocks import Block, Section, Text, table_of
from altgrad_core.experiments.report.sections.costs import costs_table
from altgrad_core.experiments.report.view import View, mean

NAME, TITLE = "answer", "The answer, per metric"
MOST_LOSS = 500.0  # whose perplexity is still a float


def answers_section(view: View) -> Section:
    """The answer by validation loss and by perplexity, and what every arm reached."""
    by_loss, of_perplexity = answer(view.analysis), answer(view.analysis, PERPLEXITY)
    is_per_token = view.study.unit == PER_TOKEN  # the exponential of another loss is no perplexity
    by_perplexity = of_perplexity.sentence.removeprefix(of_perplexity.refusal).strip() if is_per_token else ""
    blocks: list[Block] = [Text(by_loss.sentence)]
    if by_perplexity:
        blocks.append(Text(f"By perplexity, the exponential of the loss, run by run: {by_perplexity}"))
    blocks.append(
        _reached(view) if view.arms else Text("No cell has its settings recorded, so there is no table.", "gap")
    )
    if view.effects and view.analysis.costs:
        blocks.append(costs_table(view))
    return Section(NAME, TITLE, tuple(blocks))


def _reached(view: View) -> Block:
    beside = next((arm for arm in _wide(view) if arm.losses), None)
    is_per_token = view.study.unit == PER_TOKEN
    than = [] if beside is None else [f"above {beside.format}"]
    columns = (
        "format",
        "variant",
        "optimizer",
        "rate",
        "rates tried",
        "seeds",
        "validation loss",
        *than,
        *(["perplexity"] if is_per_token else []),
        "diverged",
    )
    rows = [_row(arm, beside, is_per_token=is_per_token) for arm in view.arms]
    perplexity = "the perplexity of that mean, its exponential, " if is_per_token else ""
    text = (
        f"Every format and optimizer at its chosen rate: the mean over seeds of the validation loss ({view.study.unit}), "
        f"{perplexity}and how many of the runs at that rate diverged."
    )
    if beside is not None:
        text += (
            f" Above {beside.format}: the loss minus that of {beside.optimizer} in {beside.format}, over common seeds."
        )
    return table_of(columns, rows, text)


def _wide(view: View) -> list[Arm]:
    """The arms in wide formats, the baseline's in the narrowest first."""
    wide = [arm for arm in view.arms if view.is_wide(arm.format)]
    return sorted(wide, key=lambda arm: (arm.optimizer != view.study.baseline, arm.format != "bf16"))


def _row(arm: Arm, beside: Arm | None, *, is_per_token: bool) -> tuple[object, ...]:
    loss = mean(arm.losses.values())
    rate = None if arm.rate is None else f"{arm.rate:g}"
    perplexity = [None if loss is None or loss > MOST_LOSS else f"{math.exp(loss):.3f}"] if is_per_token else []
    above = [] if beside is None else [_above(arm, beside)]
    return (
        arm.format, arm.variant, arm.optimizer, rate, len(arm.tried), len(arm.losses), loss, *above, *perplexity,
        f"{arm.diverged} of {arm.of}",
    )  # fmt: skip


def _above(arm: Arm, beside: Arm) -> str | None:
    gaps = mean(loss - beside.losses[seed] for seed, loss in arm.losses.items() if seed in beside.losses)
    return None if gaps is None or arm is beside else f"{gaps:+.4f}"

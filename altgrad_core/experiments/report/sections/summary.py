"""What a reader sees first: the forest plot, the contrasts between formats, and one table of every format and optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.evidence.interactions import Interaction
from altgrad_core.experiments.evidence.statistics import shown_interval
from altgrad_core.experiments.report.blocks import Block, TextTable, table_of
from altgrad_core.experiments.report.sections.costs import costs_forest, costs_table
from altgrad_core.experiments.report.sections.effects import between, forest_block, verdict
from altgrad_core.experiments.report.sections.registration import registration_blocks
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.experiments.study.wording import decimals

MOST_CONTRASTS = 12


def summary_blocks(view: View) -> tuple[Block, ...]:
    """What was declared, the forest plot where there are effects, contrasts that have an interval, and the table."""
    blocks: list[Block] = [*registration_blocks(view)]
    if (gallery := forest_block(view) or costs_forest(view)) is not None:
        blocks.append(gallery)
    if judged := [contrast for contrast in view.analysis.interactions if contrast.interval is not None]:
        blocks.append(_contrasts(judged, view.study.unit))
    if any(arm.of for arm in view.arms):
        blocks.append(answer_table(view))
    return tuple(blocks)


def answer_table(view: View) -> TextTable:
    """Every format and optimizer: rate, loss, and the effect, or without one the cost, with its interval and verdict."""
    if not view.effects and view.analysis.costs:
        return costs_table(view)
    by_arm = {(e.format, e.optimizer, e.variant): e for e in view.effects}
    rows = [_row(view, arm, by_arm.get((arm.format, arm.optimizer, arm.variant))) for arm in view.arms if arm.of]
    columns = ("format", "variant", "optimizer", "rate", "loss", "effect", "95 % interval", "verdict", "detectable")
    text = f"Validation loss in {view.study.unit} at the chosen rate, mean over seeds."
    if by_arm:
        text += f" Effect: what the optimizer gains over {view.study.baseline}, seed by seed; above zero it helps."
    if any(effect.detectable is not None for effect in by_arm.values()):
        text += (
            " Detectable: the smallest true effect that so many seeds, scattered like these, show in 80 % of studies."
        )
    return table_of(columns, rows, text)


def _row(view: View, arm: Arm, effect: Effect | None) -> tuple[object, ...]:
    loss, rate = mean(arm.losses.values()), None if arm.rate is None else f"{arm.rate:g}"
    digits = decimals(shown_interval(effect)) if effect is not None else _digits(view, arm)
    level = f"diverged ({arm.diverged} of {arm.of})" if loss is None else f"{loss:.{digits}f}"
    place = (arm.format, arm.variant, arm.optimizer, rate, level)
    if arm.optimizer == view.study.baseline and view.effects:
        return (*place, None, None, "baseline", None)
    if effect is None or effect.mean is None:
        return (*place, None, None, None, None)
    power = None if effect.detectable is None else f"{effect.detectable:.{digits}f}"
    gain = f"{effect.mean:+.{digits}f}"
    return (*place, gain, between(shown_interval(effect), digits), verdict(effect), power)


def _digits(view: View, arm: Arm) -> int:
    """The decimals of a loss without an effect, such as the baseline's: as many as its most exact comparison has."""
    beside = [shown_interval(e) for e in view.effects if (e.format, e.variant) == (arm.format, arm.variant)]
    return max(map(decimals, filter(None, beside)), default=decimals(None))


def _contrasts(result: Sequence[Interaction], unit: str) -> TextTable:
    """Which format benefits more, directly."""
    columns = ("optimizer", "variant", "gain in", "less gain in", "difference", "95 % interval", "verdict", "p", "seeds", "detectable")  # fmt: skip
    rows = [_contrast(contrast) for contrast in result[:MOST_CONTRASTS]]
    more = len(result) - MOST_CONTRASTS
    text = (
        "Contrasts: what an optimizer gains over the baseline in one format, minus what it gains in another, "
        "seed by seed, in "
        f"{unit}. p: exact paired permutation test, corrected for all contrasts (Holm)."
    )
    margin = result[0].margin
    text += f" Equivalent: two one-sided t tests against the margin of the manifest, {margin:g}." if margin else ""
    text += f" {more} more are in contrasts.csv." if more > 0 else ""
    return table_of(columns, rows, text)


def _contrast(c: Interaction) -> tuple[object, ...]:
    digits = decimals(shown_interval(c))
    power = None if c.detectable is None else f"{c.detectable:.{digits}f}"
    return (
        c.optimizer, c.variant, c.format, c.other, f"{c.mean:+.{digits}f}", between(shown_interval(c), digits), c.verdict, c.p_adjusted,
        len(c.differences), power,
    )  # fmt: skip

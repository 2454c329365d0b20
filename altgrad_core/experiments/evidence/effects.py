"""Effects: what an optimizer gains over the baseline in each format, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from altgrad_core.experiments.evidence.arms import FEWEST_RATES, FEWEST_SEEDS, Arm
from altgrad_core.experiments.evidence.power import ALPHA, detectable_effect, equivalence_p
from altgrad_core.experiments.evidence.statistics import (
    adjusted,
    agreed_sign,
    bootstrap_interval,
    permutation_p,
    student_interval,
)
from altgrad_core.experiments.study.interval import Interval
from altgrad_core.experiments.study.wording import count, listed

LOSS, PERPLEXITY = "loss", "perplexity"
EQUIVALENT = "equivalent"
MOST_NATS = 700  # the exponential of a little more is beyond float64


@dataclass(frozen=True)
class Effect:
    """What an optimizer gains over the baseline in one format, seed by seed.

    Attributes:
        differences: the baseline's loss less its own, in the order of `seeds`: above zero it helps.
        interval: the mean with its 95 % interval (BCa bootstrap); None below 2 pairs.
        student: the same by Student's t.
        p: of the exact paired permutation test; None below 6 pairs.
        p_adjusted: corrected for all comparisons of the study.
        diverged_seeds: pairs without a difference, as one side diverged.
        margin: the difference in loss that the manifest calls too small to matter; None of perplexity.
        caution: what to bear in mind, in words.
    """

    format: str
    optimizer: str
    variant: str
    differences: tuple[float, ...]
    interval: Interval | None
    p: float | None
    p_adjusted: float | None
    caution: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    student: Interval | None = None
    diverged_seeds: tuple[int, ...] = ()
    arm: Arm | None = None
    against: Arm | None = None
    margin: float | None = None

    @property
    def mean(self) -> float | None:
        """The mean difference; None without any pair."""
        return math.fsum(self.differences) / len(self.differences) if self.differences else None

    @property
    def verdict(self) -> str:
        """`equivalent`, `helps` or `hurts` where 3 or more pairs say so, the last two by both intervals; else `unclear`."""
        if self.p_equivalence is not None and self.p_equivalence < ALPHA:
            return EQUIVALENT
        sign = agreed_sign(len(self.differences), self.interval, self.student)
        return {1: "helps", -1: "hurts"}.get(sign, "unclear")

    @property
    def told(self) -> str:
        """The verdict with the margin, for tables."""
        return f"{self.verdict} within {self.margin:g}" if self.verdict == EQUIVALENT else self.verdict

    @property
    def p_equivalence(self) -> float | None:
        """The p of two one-sided t tests against the margin; None without one, or below 3 pairs."""
        return None if self.margin is None else equivalence_p(self.differences, self.margin)

    @property
    def detectable(self) -> float | None:
        """The smallest true effect that so many pairs, scattered like these, would show; None below 3 pairs."""
        return detectable_effect(self.differences)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What is missing for this effect to take part in a ranking."""
        return _lacks(self)


def effects_of(
    arms: Sequence[Arm], baseline: str | None, metric: str, margin: float | None = None
) -> tuple[Effect, ...]:
    """Every optimizer against the baseline, wherever both have a format and a variant in common.

    Args:
        baseline: the optimizer that the others are compared with.
        metric: `loss`, in nats per token, or `perplexity`, its exponential.
        margin: of the manifest, in nats per token.
    """
    against = {(arm.format, arm.variant): arm for arm in arms if arm.optimizer == baseline}
    result = [
        replace(_effect(arm, other, metric), margin=margin if metric == LOSS else None)
        for arm in arms
        if arm.optimizer != baseline and (other := against.get((arm.format, arm.variant))) is not None
    ]
    corrected = iter(adjusted([effect.p for effect in result if effect.p is not None]))
    return tuple(effect if effect.p is None else replace(effect, p_adjusted=next(corrected)) for effect in result)


def in_metric(loss: float | None, metric: str) -> float | None:
    """A loss in nats per token, or the perplexity that it is; None where there is none, or none within float64."""
    if loss is None or metric == LOSS:
        return loss
    return math.exp(loss) if loss < MOST_NATS else None


def _effect(arm: Arm, baseline: Arm, metric: str) -> Effect:
    shared = [seed for seed in baseline.held_out if seed in arm.held_out]
    pairs = {seed: (baseline.held_out[seed].loss, arm.held_out[seed].loss) for seed in shared}
    measured = {seed: (in_metric(a, metric), in_metric(b, metric)) for seed, (a, b) in pairs.items()}
    gains = {seed: a - b for seed, (a, b) in measured.items() if a is not None and b is not None}
    values = tuple(gains.values())
    effect = Effect(
        arm.format, arm.optimizer, arm.variant, values, bootstrap_interval(values), permutation_p(values), None, (),
        seeds=tuple(gains), student=student_interval(values),
        diverged_seeds=tuple(seed for seed in shared if seed not in gains), arm=arm, against=baseline,
    )  # fmt: skip
    return replace(effect, caution=_caution(effect, arm, baseline))


def _lacks(effect: Effect) -> tuple[str, ...]:
    missing = []
    if len(effect.differences) < FEWEST_SEEDS:
        seeds = len(effect.differences)
        text = "one seed is not evidence" if seeds == 1 else f"{count(seeds, 'seed')} in common"
        lost = (
            f", as {count(len(effect.diverged_seeds), 'pair')} had a side that diverged"
            if effect.diverged_seeds
            else ""
        )
        missing.append(f"{text}{lost} ({FEWEST_SEEDS} are needed)")
    short = [arm for arm in (effect.against, effect.arm) if arm is not None and not arm.has_its_rate]
    if short:
        text = listed([f"{arm.optimizer} was run at {count(len(arm.tried), 'rate')}" for arm in short])
        missing.append(f"no learning-rate sweep: {text} ({FEWEST_RATES} are needed)")
    return tuple(missing)


def _caution(effect: Effect, *both: Arm) -> tuple[str, ...]:
    result = list(_lacks(effect))
    for arm in both:
        if arm.is_swept and arm.is_at_an_end and arm.rate is not None:
            among = "" if len(arm.window) == len(arm.tried) else " with all seeds"
            result.append(f"the best rate of {arm.optimizer}, {arm.rate:g}, is the {arm.end} tried{among}")
        if arm.diverged:
            result.append(f"{arm.optimizer} diverged in {arm.diverged} of {arm.of} at its best rate, {arm.rate:g}")
    if effect.diverged_seeds:
        pairs = count(len(effect.diverged_seeds), "pair")
        result.append(f"{pairs} without a difference, as one side diverged (seeds {listed(effect.diverged_seeds)})")
    return tuple(result)

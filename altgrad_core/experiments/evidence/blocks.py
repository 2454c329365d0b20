"""How much of an effect's uncertainty comes from the choice of the validation text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.evidence.statistics import CONFIDENCE, FEWEST_VALUES
from altgrad_core.experiments.study.interval import Interval

Blocks = Callable[[Arm, float, int], Sequence[float]]
"""The validation losses of the cell of an arm with a rate and a seed, block by block; empty where they are not known."""


@dataclass(frozen=True)
class Sampled:
    """The standard errors of an effect, and its interval with both.

    Attributes:
        blocks: how many validation blocks all runs share.
        seed_error: from the scatter over seeds.
        block_error: from the scatter over validation blocks, of differences averaged over seeds.
        interval: mean and 95 % interval for other seeds and another validation text of the same size: Student's t times
            the root of the sum of both squares.
    """

    effect: Effect
    blocks: int
    seed_error: float
    block_error: float
    interval: Interval


def sampled(effect: Effect, blocks: Blocks) -> Sampled | None:
    """The errors of one effect.

    All runs share the validation blocks, so that their choice moves all seeds alike and is not in the scatter over seeds.

    Returns:
        None below 3 pairs, or where a run did not record its blocks.
    """
    from scipy import stats

    if effect.arm is None or effect.against is None or len(effect.differences) < FEWEST_VALUES:
        return None
    differences = []
    for seed in effect.seeds:
        own = blocks(effect.arm, effect.arm.held_out[seed].rate, seed)
        base = blocks(effect.against, effect.against.held_out[seed].rate, seed)
        if len(own) < 2 or len(own) != len(base):
            return None
        differences.append([theirs - mine for theirs, mine in zip(base, own, strict=True)])
    if len({len(row) for row in differences}) > 1:
        return None
    over_seeds = [math.fsum(column) / len(differences) for column in zip(*differences, strict=True)]
    mean = math.fsum(effect.differences) / len(effect.differences)
    seed_error, block_error = _error(effect.differences), _error(over_seeds)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * math.hypot(seed_error, block_error)
    return Sampled(effect, len(over_seeds), seed_error, block_error, Interval(mean, mean - half, mean + half))


def _error(values: Sequence[float]) -> float:
    """The standard error of the mean."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))

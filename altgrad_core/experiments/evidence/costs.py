"""Costs: what a format or a variant adds to the loss of an optimizer, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from altgrad_core.experiments.evidence.arms import FEWEST_SEEDS, Arm
from altgrad_core.experiments.evidence.power import ALPHA, detectable_effect, equivalence_p
from altgrad_core.experiments.evidence.statistics import agreed_sign, bootstrap_interval, student_interval
from altgrad_core.experiments.study.interval import Interval
from altgrad_core.experiments.study.wording import count


@dataclass(frozen=True)
class Cost:
    """The loss of an arm less that of its reference, which has the same optimizer.

    Attributes:
        reference: the arm on weights that are not quantized, of the same variant where there is one.
        differences: by seed, each at the rate that the other seeds choose; above zero the arm costs.
        interval: the mean with its 95 % interval (BCa bootstrap); None below 2 seeds.
        student: the same by Student's t.
        detectable: the smallest true cost that so many seeds, scattered like these, would show; None below 3 seeds.
        margin: the difference that the manifest calls too small to matter.
    """

    arm: Arm
    reference: Arm
    differences: tuple[float, ...]
    interval: Interval | None
    student: Interval | None
    detectable: float | None
    margin: float | None

    @property
    def mean(self) -> float:
        """The mean difference."""
        return math.fsum(self.differences) / len(self.differences)

    @property
    def verdict(self) -> str:
        """`costs` or `gains` where both intervals say so, `equivalent` within the margin, `unclear`, or `not judged`."""
        if len(self.differences) < FEWEST_SEEDS:
            return f"not judged ({count(len(self.differences), 'seed')})"
        p = None if self.margin is None else equivalence_p(self.differences, self.margin)
        if p is not None and p < ALPHA:
            return f"equivalent within {self.margin:g}"
        return {1: "costs", -1: "gains"}.get(agreed_sign(len(self.differences), self.interval, self.student), "unclear")


def costs_of(arms: Sequence[Arm], references: Collection[str], margin: float | None) -> tuple[Cost, ...]:
    """What every arm costs that has a reference and a seed in common with it.

    Args:
        references: the formats with 16 bits and more. Where an optimizer has none of them, its first arm is the reference.
        margin: of the manifest.
    """
    return tuple(_costs(arms, references, margin))


def _costs(arms: Sequence[Arm], references: Collection[str], margin: float | None) -> Iterator[Cost]:
    compared = {name: _References(arms, name, references) for name in dict.fromkeys(arm.optimizer for arm in arms)}
    for arm in arms:
        reference = compared[arm.optimizer].of(arm)
        if reference is None:
            continue
        shared = sorted(arm.held_out.keys() & reference.held_out.keys())
        pairs = [(arm.held_out[seed].loss, reference.held_out[seed].loss) for seed in shared]
        differences = tuple(own - theirs for own, theirs in pairs if own is not None and theirs is not None)
        if differences:
            intervals = bootstrap_interval(differences), student_interval(differences)
            yield Cost(arm, reference, differences, *intervals, detectable_effect(differences), margin)


class _References:
    """What the arms of one optimizer are compared with, found once for all of them."""

    def __init__(self, arms: Sequence[Arm], optimizer: str, references: Collection[str]) -> None:
        own = [arm for arm in arms if arm.optimizer == optimizer and arm.losses]
        self._wide = [arm for arm in own if arm.format in references] or own
        self._places = {(arm.format, arm.variant) for arm in self._wide}
        self._by_variant = {arm.variant: arm for arm in reversed(self._wide)}

    def of(self, arm: Arm) -> Arm | None:
        """The reference of an arm; None for the first reference itself, which the others are compared with."""
        if not self._wide:
            return None
        first = self._wide[0]
        if (arm.format, arm.variant) in self._places:
            return None if arm is first else first
        return self._by_variant.get(arm.variant, first)

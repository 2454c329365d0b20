"""Interaction contrasts: what an optimizer gains in one format less what it gains in another, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.evidence.power import ALPHA, detectable_effect, equivalence_p
from altgrad_core.experiments.evidence.statistics import (
    adjusted,
    agreed_sign,
    bootstrap_interval,
    permutation_p,
    student_interval,
)
from altgrad_core.experiments.study.interval import Interval

MOST_FORMATS = 6  # of more, each is compared with fp32 and with the first alone


@dataclass(frozen=True)
class Interaction:
    """The gain of an optimizer over the baseline in `format` less its gain in `other`.

    Attributes:
        differences: by seed, in the order of `seeds`; above zero it gains more in `format`.
        interval: the mean with its 95 % interval (BCa bootstrap); None below 2 seeds.
        student: the same by Student's t.
        p: of the exact paired permutation test; None below 6 seeds.
        p_adjusted: corrected for all contrasts of the study (Holm).
        margin: the difference that the manifest calls too small to matter.
        p_equivalence: of two one-sided tests against the margin; None without a margin or below 3 seeds.
        detectable: the smallest true difference that so many seeds, scattered like these, would show.
    """

    optimizer: str
    variant: str
    format: str
    other: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    interval: Interval | None
    student: Interval | None
    p: float | None
    p_adjusted: float | None
    margin: float | None
    p_equivalence: float | None
    detectable: float | None

    @property
    def mean(self) -> float:
        """The mean difference."""
        return math.fsum(self.differences) / len(self.differences)

    @property
    def sign(self) -> int:
        """+1 where it is shown to gain more in `format`, -1 where less, else 0."""
        return agreed_sign(len(self.differences), self.interval, self.student)

    @property
    def verdict(self) -> str:
        """What is shown, in words."""
        if self.p_equivalence is not None and self.p_equivalence < ALPHA:
            return f"equivalent within {self.margin:g}"
        return {1: f"more in {self.format}", -1: f"less in {self.format}"}.get(self.sign, "unclear")


def interactions_of(
    effects: Sequence[Effect], references: Sequence[str], margin: float | None
) -> tuple[Interaction, ...]:
    """Every pair of formats in which an optimizer has effects on the loss, that against unquantized weights first."""
    made = [
        contrast
        for optimizer in dict.fromkeys(effect.optimizer for effect in effects)
        for one, other in _pairs([e for e in effects if e.optimizer == optimizer and e.differences], references)
        if (contrast := _interaction(one, other, margin)) is not None
    ]
    corrected = iter(adjusted([contrast.p for contrast in made if contrast.p is not None]))
    return tuple(c if c.p is None else replace(c, p_adjusted=next(corrected)) for c in made)


def _pairs(own: Sequence[Effect], wide: Sequence[str]) -> Iterator[tuple[Effect, Effect]]:
    """Those against the widest format, fp32 where it was run, of any variant, as unquantized weights have none; then pairs
    of narrow formats of one variant.
    """
    having = [name for name in wide if any(effect.format == name for effect in own)]
    plain = [effect for effect in own if having and effect.format == having[-1]]
    rest = [effect for effect in own if effect.format not in having]
    for effect in rest:
        beside = next((p for p in plain if p.variant == effect.variant), plain[0] if len(plain) == 1 else None)
        if beside is not None:
            yield effect, beside
    for index, effect in enumerate(rest):
        for other in rest[index + 1 :]:
            is_shown = index == 0 or len({e.format for e in rest}) <= MOST_FORMATS
            if effect.variant == other.variant and is_shown:
                yield effect, other


def _interaction(one: Effect, other: Effect, margin: float | None) -> Interaction | None:
    gains = dict(zip(other.seeds, other.differences, strict=True))
    by_seed = {s: gain - gains[s] for s, gain in zip(one.seeds, one.differences, strict=True) if s in gains}
    values = tuple(by_seed.values())
    if not values:
        return None
    return Interaction(
        one.optimizer, one.variant, one.format, other.format, tuple(by_seed), values, bootstrap_interval(values),
        student_interval(values), permutation_p(values), None, margin,
        None if margin is None else equivalence_p(values, margin), detectable_effect(values),
    )  # fmt: skip

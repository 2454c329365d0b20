"""Arms: what each optimizer reached in each format, and at which rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from altgrad_core.experiments.study.labels import UNKNOWN
from altgrad_core.experiments.study.study import Result, Study

FEWEST_SEEDS = 3
FEWEST_RATES = 3


@dataclass(frozen=True)
class RatePoint:
    """What one rate gave.

    Attributes:
        losses: seed -> validation loss, of the cells that finished.
        diverged: how many of `of` diverged; `of` are those that finished or diverged.
        mean: of the losses; None where none finished.
    """

    rate: float
    losses: Mapping[int, float]
    diverged_seeds: tuple[int, ...]
    mean: float | None

    @property
    def diverged(self) -> int:
        """How many diverged."""
        return len(self.diverged_seeds)

    @property
    def of(self) -> int:
        """How many finished or diverged."""
        return len(self.losses) + self.diverged


class HeldOut(NamedTuple):
    """What a seed gave at the rate that the other seeds choose: None where it diverged there."""

    rate: float
    loss: float | None


@dataclass(frozen=True)
class Arm:
    """One format with one optimizer and variant.

    Attributes:
        rate: the chosen rate: of those that most seeds ended at, the one with the fewest diverged, then the lowest mean.
        tried: all rates at which a run ended, in ascending order.
        losses: seed -> validation loss at the chosen rate.
        diverged: how many of `of` diverged at the chosen rate.
        held_out: seed -> its result at the rate that the other seeds choose; with fewer than 3 seeds the chosen rate's.
        is_declared: whether the study was registered, before any of its cells ended, with this one rate alone.
    """

    format: str
    optimizer: str
    variant: str
    rate: float | None
    tried: tuple[RatePoint, ...]
    losses: Mapping[int, float]
    diverged: int
    of: int
    held_out: Mapping[int, HeldOut]
    is_declared: bool = False

    @property
    def is_swept(self) -> bool:
        """Whether at least 3 rates were tried."""
        return len(self.tried) >= FEWEST_RATES

    @property
    def has_its_rate(self) -> bool:
        """Whether the rate can be compared with those of others: it was chosen out of 3 or more, or declared in advance."""
        return self.is_swept or self.is_declared

    @property
    def window(self) -> tuple[float, ...]:
        """The rates that were compared with all seeds, ascending; all rates tried where that is one alone."""
        most = max((point.of for point in self.tried), default=0)
        full = tuple(point.rate for point in self.tried if point.of == most)
        return full if len(full) > 1 else tuple(point.rate for point in self.tried)

    @property
    def end(self) -> str | None:
        """`smallest` or `largest`, where the chosen rate is that of the window; else None."""
        if not self.window or self.rate not in (self.window[0], self.window[-1]):
            return None
        return "smallest" if self.rate == self.window[0] else "largest"

    @property
    def is_at_an_end(self) -> bool:
        """Whether the chosen rate is the smallest or the largest of those that were compared with all seeds."""
        return self.end is not None

    @property
    def is_tuned(self) -> bool:
        """Whether at least 3 rates were tried and the best is not at an end."""
        return self.is_swept and not self.is_at_an_end

    @property
    def label(self) -> str:
        """The arm in words."""
        return f"{self.optimizer} in {self.format}" + (f" ({self.variant})" if self.variant else "")


def arms_of(study: Study) -> tuple[Arm, ...]:
    """Every combination of format, optimizer and variant of which a cell was planned, in order of appearance."""
    matches: dict[tuple[str, str, str], list[Result]] = {}
    for result in study.results:
        if result.role == "cell" and UNKNOWN not in (result.format, result.optimizer):
            matches.setdefault((result.format, result.optimizer, result.variant), []).append(result)
    is_registered = bool(study.registrations) and not any(registered.ended for registered in study.registrations)
    return tuple(_arm(key, results, is_registered) for key, results in matches.items())


def _arm(key: tuple[str, str, str], results: Sequence[Result], is_registered: bool) -> Arm:
    tried = rate_points(results)
    chosen = _choose(tried)
    losses = {} if chosen is None else chosen.losses
    counts = (0, 0) if chosen is None else (chosen.diverged, chosen.of)
    is_declared = is_registered and len({result.rate for result in results}) == 1
    rate = None if chosen is None else chosen.rate
    return Arm(*key, rate, tried, losses, *counts, _held_out(tried, chosen), is_declared)


def rate_points(results: Sequence[Result]) -> tuple[RatePoint, ...]:
    """What every rate gave at which a run ended, in ascending order; of two cells with one rate and seed the first one that ended."""
    by_rate: dict[float, dict[int, Result]] = {}
    for result in results:
        if result.rate is not None and result.seed is not None:
            seeds = by_rate.setdefault(result.rate, {})
            if result.has_ended:
                seeds.setdefault(result.seed, result)
    return tuple(_rate_point(rate, by_rate[rate]) for rate in sorted(by_rate) if by_rate[rate])


def _rate_point(rate: float, seeds: Mapping[int, Result]) -> RatePoint:
    losses = {seed: r.validation_loss for seed, r in sorted(seeds.items()) if r.validation_loss is not None}
    diverged = tuple(sorted(seed for seed, result in seeds.items() if result.status == "diverged"))
    return RatePoint(rate, losses, diverged, math.fsum(losses.values()) / len(losses) if losses else None)


def _choose(points: Iterable[RatePoint]) -> RatePoint | None:
    """The rate with the fewest diverged, then the lowest mean, of those that most seeds ended at."""
    return _first_of([(point, _Seen(point.of, point.diverged, point.mean)) for point in points])


class _Seen(NamedTuple):
    """What some seeds saw of one rate: how many ended there, how many of them diverged, and the mean loss of the others."""

    of: int
    diverged: int
    mean: float | None


def _first_of(rated: Sequence[tuple[RatePoint, _Seen]]) -> RatePoint | None:
    most = max((seen.of for _, seen in rated), default=0)
    if most == 0:
        return None
    return min((pair for pair in rated if pair[1].of == most), key=lambda pair: _rank(pair[1]))[0]


def _rank(seen: _Seen) -> tuple[int, float]:
    return seen.diverged, math.inf if seen.mean is None else seen.mean


class _Others:
    """What the seeds without one of them saw of a rate. Sums are exact, so that leaving out a seed takes one subtraction."""

    def __init__(self, point: RatePoint) -> None:
        self._point, self._diverged = point, frozenset(point.diverged_seeds)
        self._total = sum(map(Fraction, point.losses.values()), Fraction())

    def seen_without(self, seed: int) -> _Seen:
        loss = self._point.losses.get(seed)
        total = self._total if loss is None else self._total - Fraction(loss)
        count = len(self._point.losses) - (loss is not None)
        diverged = len(self._diverged) - (seed in self._diverged)
        return _Seen(count + diverged, diverged, float(total) / count if count else None)


def _held_out(tried: Sequence[RatePoint], chosen: RatePoint | None) -> dict[int, HeldOut]:
    if chosen is None:
        return {}
    seeds = sorted({*chosen.losses, *chosen.diverged_seeds})
    others, result = [(point, _Others(point)) for point in tried], {}
    for seed in seeds:
        rated = [(point, rest.seen_without(seed)) for point, rest in others]
        point = _first_of(rated) if len(seeds) >= FEWEST_SEEDS else chosen
        if point is not None and (seed in point.losses or seed in point.diverged_seeds):
            result[seed] = HeldOut(point.rate, point.losses.get(seed))
    return result

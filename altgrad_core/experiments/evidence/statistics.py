"""Intervals, tests and correlations of a few paired numbers: what the data support, and no more."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from altgrad_core.experiments.study.interval import Interval

CONFIDENCE = 0.95
FEWEST_PAIRS = 6  # with fewer, no exact test can reach p < 0.05
FEWEST_VALUES = 3
FEWEST_POINTS = 5
EXACT_PAIRS = 20
RESAMPLES = 9999
SAMPLED_SIGNS = 100_000
AT_ONCE = 2**21  # random numbers drawn at a time, so that memory does not grow with the pairs
REMEMBERED = 128  # series whose interval and p are kept: sections of a report ask for the same ones


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of so many points, with its 95 % interval."""

    rho: float
    low: float
    high: float
    points: int


def finite(values: Sequence[float]) -> list[float]:
    """The values as plain floats.

    Raises:
        ValueError: one is NaN or infinite, which have no interval and no p.
    """
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"value {index} of {len(values)} is {value}; expected finite numbers")
    return [float(value) for value in values]


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean by the bias-corrected and accelerated bootstrap (Efron, 1987), always the same one.

    Returns:
        None below 2 values.

    Raises:
        ValueError: a value is not finite.
    """
    return _bootstrap_interval(tuple(finite(values)))


@lru_cache(maxsize=REMEMBERED)
def _bootstrap_interval(values: tuple[float, ...]) -> Interval | None:
    import numpy
    from scipy import stats

    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    if min(values) == max(values):
        return Interval(mean, mean, mean)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (numpy.asarray(values, dtype=float),),
            numpy.mean,
            method="BCa",
            confidence_level=CONFIDENCE,
            n_resamples=RESAMPLES,
            batch=_rows(len(values)),
            random_state=numpy.random.default_rng(0),
        ).confidence_interval
    if not (math.isfinite(result.low) and math.isfinite(result.high)):
        return Interval(mean, min(values), max(values))
    return Interval(mean, float(result.low), float(result.high))


def student_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean by Student's t; None below 2 values.

    Raises:
        ValueError: a value is not finite.
    """
    from scipy import stats

    values = finite(values)
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # values that are nearly the same
        result = stats.ttest_1samp(values, 0.0).confidence_interval(CONFIDENCE)
    return Interval(mean, float(result.low), float(result.high))


class Compared(Protocol):
    """A mean of paired differences with both of its intervals."""

    @property
    def differences(self) -> tuple[float, ...]: ...

    @property
    def interval(self) -> Interval | None: ...

    @property
    def student(self) -> Interval | None: ...


def shown_interval(of: Compared) -> Interval | None:
    """The interval to show where only one is: the bootstrap's, and below 6 pairs Student's, since so few resampled reach no 95 %."""
    return of.interval if len(of.differences) >= FEWEST_PAIRS else of.student


def agreed_sign(count: int, interval: Interval | None, student: Interval | None) -> int:
    """+1 or -1 where at least 3 values are on one side of zero by the bootstrap and by Student's t alike, else 0.

    The bootstrap alone is too sure of itself with few values, Student's t alone where they are skewed.
    """
    if count < FEWEST_VALUES or interval is None or student is None or interval.sign != student.sign:
        return 0
    return interval.sign


def most_coverage(count: int) -> float:
    """How often a bootstrap interval of so many values can hold the centre at most, 1 - 2 ** (1 - count).

    It never leaves the range of the values, and the median is outside that range where all values fall on one side.
    """
    return 1 - 2.0 ** (1 - count)


def permutation_p(differences: Sequence[float]) -> float | None:
    """The exact two-sided p of a mean other than zero, over all changes of signs; sampled beyond 20 pairs.

    Up to 20 pairs it is that of `scipy.stats.permutation_test`, which takes a second for 16 pairs; this takes a millisecond.

    Returns:
        None below 6 pairs, with which no p below 0.05 can come out.

    Raises:
        ValueError: a difference is not finite.
    """
    return _permutation_p(tuple(finite(differences)))


@lru_cache(maxsize=REMEMBERED)
def _permutation_p(differences: tuple[float, ...]) -> float | None:
    import numpy

    if len(differences) < FEWEST_PAIRS:
        return None
    magnitudes = numpy.abs(numpy.asarray(differences, dtype=float))
    seen = abs(math.fsum(differences)) - 1e-12 * float(magnitudes.sum())  # sums in another order are not the same bits
    if len(differences) <= EXACT_PAIRS:
        sums = numpy.zeros(1)
        for magnitude in magnitudes:
            sums = numpy.concatenate([sums - magnitude, sums + magnitude])
        return float(numpy.count_nonzero(numpy.abs(sums) >= seen) / len(sums))
    dice, rows, extreme = numpy.random.default_rng(0), _rows(len(magnitudes)), 0
    for first in range(0, SAMPLED_SIGNS, rows):
        count = min(rows, SAMPLED_SIGNS - first)
        sums = dice.choice([-1.0, 1.0], size=(count, len(magnitudes))) @ magnitudes
        extreme += int(numpy.count_nonzero(numpy.abs(sums) >= seen))
    return (extreme + 1) / (SAMPLED_SIGNS + 1)


def _rows(length: int) -> int:
    """How many random rows of a length are drawn at a time; this changes no number, as the draws are one sequence."""
    return max(1, AT_ONCE // length)


def smallest_p(pairs: int) -> float:
    """The smallest p that an exact test of so many pairs can give."""
    return 2.0 ** (1 - pairs)


def adjusted(ps: Sequence[float]) -> list[float]:
    """The p values, each corrected for there being so many (Holm, 1979), in the order given."""
    result = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        result[index] = largest
    return result


def correlation(x: Sequence[float], y: Sequence[float], *, independent: int | None = None) -> Correlation | None:
    """Spearman's correlation, with an interval by Fisher's transform (Bonett and Wright, 2000).

    Args:
        independent: how many of the points are independent of each other; all of them by default.

    Returns:
        None below 5 independent points, or where all x or all y are the same.
    """
    from scipy import stats

    count = len(x) if independent is None else min(independent, len(x))
    if count < FEWEST_POINTS or min(x) == max(x) or min(y) == max(y):
        return None
    rho = float(stats.spearmanr(x, y).statistic)
    most = 1 - 6 / (count * (count**2 - 1))  # halfway to the next smaller correlation there is: 1 itself has no width
    centre = math.atanh(max(-most, min(most, rho)))
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return Correlation(rho, min(rho, math.tanh(centre - half)), max(rho, math.tanh(centre + half)), len(x))

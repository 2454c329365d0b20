"""Statistics against enumeration by hand, scipy's own tests, and simulation."""

from __future__ import annotations

import itertools
import math
import random
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace

import numpy
import pytest
from scipy import stats

from altgrad_core.experiments.evidence.statistics import (
    Interval,
    adjusted,
    agreed_sign,
    bootstrap_interval,
    correlation,
    most_coverage,
    permutation_p,
    shown_interval,
    smallest_p,
    student_interval,
)

SEVEN = (0.31, -0.12, 0.55, 0.08, 0.27, -0.04, 0.19)


def draws(count: int, seed: int, *, centre: float = 0.0) -> list[float]:
    generator = random.Random(seed)
    return [generator.gauss(centre, 1.0) for _ in range(count)]


def test_the_interval_is_the_bca_interval_of_scipy() -> None:
    found = bootstrap_interval(SEVEN)
    assert found is not None
    expected = stats.bootstrap(
        (numpy.array(SEVEN),), numpy.mean, method="BCa", n_resamples=40_000, random_state=numpy.random.default_rng(5)
    ).confidence_interval
    assert found.mean == pytest.approx(sum(SEVEN) / 7)
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


@pytest.mark.parametrize("values", [SEVEN, draws(300, 6)])
def test_the_interval_is_the_same_every_time(values: list[float]) -> None:
    """And that of draws all at once."""
    expected = stats.bootstrap(
        (numpy.array(values),), numpy.mean, method="BCa", n_resamples=9999, random_state=numpy.random.default_rng(0)
    ).confidence_interval
    found = bootstrap_interval(values)
    assert found is not None
    assert (found.low, found.high) == (expected.low, expected.high)


def test_a_skewed_sample_gets_a_skewed_interval() -> None:
    found = bootstrap_interval([0.0, 0.01, 0.02, 0.0, 0.03, 0.01, 0.9, 0.02])
    assert found is not None
    assert found.high - found.mean > 1.5 * (found.mean - found.low)


def test_one_value_has_no_interval_and_equal_values_one_of_no_width() -> None:
    assert bootstrap_interval([1.0]) is None
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([0.25, 0.25, 0.25]) == Interval(0.25, 0.25, 0.25)


def test_two_values_reach_no_further_than_themselves() -> None:
    found = bootstrap_interval([0.1, 0.3])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.1, 0.3))


def test_the_interval_of_twelve_values_covers_the_mean_about_as_often_as_it_says() -> None:
    found = [bootstrap_interval(draws(12, seed)) for seed in range(100)]
    covered = sum(interval is not None and interval.low <= 0 <= interval.high for interval in found)
    assert 0.84 <= covered / 100 <= 0.99


def test_intervals_of_three_values_cover_what_is_said_of_them_and_both_together_rarely_see_what_is_not_there() -> None:
    trials = 250
    samples = [draws(3, seed) for seed in range(trials)]
    found = [(bootstrap_interval(sample), student_interval(sample)) for sample in samples]
    covered = sum(bootstrap is not None and bootstrap.low <= 0 <= bootstrap.high for bootstrap, _ in found) / trials
    assert most_coverage(3) == 0.75
    assert covered <= 0.75 + 3 * math.sqrt(0.75 * 0.25 / trials)
    seen = sum(agreed_sign(3, bootstrap, student) != 0 for bootstrap, student in found) / trials
    assert seen <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_both_intervals_together_see_what_is_there() -> None:
    values = draws(6, 1, centre=5.0)
    assert agreed_sign(6, bootstrap_interval(values), student_interval(values)) == 1
    assert agreed_sign(6, bootstrap_interval([-v for v in values]), student_interval([-v for v in values])) == -1
    assert agreed_sign(2, Interval(1, 0.9, 1.1), Interval(1, 0.9, 1.1)) == 0


@pytest.mark.parametrize("pairs", range(2, 13))
def test_the_interval_that_is_shown_alone_covers_about_as_often_as_it_says(pairs: int) -> None:
    draws = random.Random(pairs)
    samples = [tuple(draws.gauss(0.0, 1.0) for _ in range(pairs)) for _ in range(200)]
    shown = [
        shown_interval(SimpleNamespace(differences=s, interval=bootstrap_interval(s), student=student_interval(s)))
        for s in samples
    ]
    assert sum(interval is not None and interval.sign == 0 for interval in shown) >= 0.85 * len(samples)


def test_students_interval_is_that_of_a_table() -> None:
    half = 4.302653 / 3**0.5  # of t with 2 degrees of freedom, and a standard deviation of 1
    found = student_interval([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    assert student_interval([2.0, 2.0, 2.0]) == Interval(2.0, 2.0, 2.0)


@pytest.mark.parametrize("values", [SEVEN, draws(6, 3), draws(9, 4, centre=1.0), [0.5] * 6, [0.0] * 6])
def test_the_permutation_test_counts_every_change_of_signs(values: list[float]) -> None:
    seen = abs(math.fsum(values))
    sums = [
        abs(math.fsum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    expected = sum(total >= seen - 1e-12 for total in sums) / len(sums)
    assert permutation_p(values) == pytest.approx(expected, abs=1e-15)


def test_the_permutation_test_is_that_of_scipy() -> None:
    expected = stats.permutation_test(
        (numpy.array(SEVEN), numpy.zeros(7)),
        lambda x, y, axis: numpy.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=numpy.inf,
    ).pvalue
    assert permutation_p(SEVEN) == pytest.approx(expected)


def test_the_smallest_p_is_reached_when_all_pairs_agree() -> None:
    assert permutation_p([0.1, 0.2, 0.3, 0.1, 0.5, 0.4]) == smallest_p(6) == 2 / 64


def test_beyond_twenty_pairs_signs_are_drawn() -> None:
    values = draws(21, 2, centre=0.3)
    t = stats.ttest_1samp(values, 0).pvalue
    found = permutation_p(values)
    assert found is not None
    assert found == pytest.approx(t, abs=0.02)


def test_fewer_than_six_pairs_have_no_p() -> None:
    assert permutation_p([1.0] * 5) is None


def test_holms_correction_by_hand() -> None:
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([0.6, 0.5]) == [1.0, 1.0]
    assert adjusted([]) == []


def test_the_correlation_is_that_of_scipy_and_its_interval_that_of_bonett_and_wright() -> None:
    x, y = draws(20, 1), draws(20, 2)
    y = [a + b for a, b in zip(x, y, strict=True)]
    found = correlation(x, y)
    assert found is not None
    rho = stats.spearmanr(x, y).statistic
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / 17)
    assert (found.rho, found.points) == (pytest.approx(rho), 20)
    assert found.low == pytest.approx(math.tanh(math.atanh(rho) - half), abs=1e-6)
    assert found.high == pytest.approx(math.tanh(math.atanh(rho) + half), abs=1e-6)


def test_the_interval_of_a_correlation_covers_none_about_as_often_as_it_says() -> None:
    found = [correlation(draws(12, seed), draws(12, seed + 10_000)) for seed in range(500)]
    covered = sum(each is not None and each.low <= 0 <= each.high for each in found) / 500
    assert 0.91 <= covered <= 0.99


def test_points_that_depend_on_each_other_count_once() -> None:
    x, y = draws(20, 1), draws(20, 2)
    wide, narrow = correlation(x, y, independent=5), correlation(x, y)
    assert wide is not None and narrow is not None
    assert wide.rho == narrow.rho
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_a_perfect_correlation_of_few_points_is_not_certain() -> None:
    found = correlation([1, 2, 3, 4, 5], [2, 3, 4, 5, 6])
    assert found is not None
    assert (found.rho, found.high) == (pytest.approx(1.0), pytest.approx(1.0))
    assert 0 < found.low < 0.5


def test_no_correlation_of_too_few_or_constant_points() -> None:
    assert correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None
    assert correlation([1] * 6, [1, 2, 3, 4, 5, 6]) is None
    assert correlation([1, 2, 3, 4, 5, 6], [1] * 6) is None
    assert correlation([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7], independent=4) is None


@pytest.mark.parametrize(("tell", "pairs"), [(permutation_p, 200), (bootstrap_interval, 1000)])
def test_memory_does_not_grow_with_the_pairs(tell: Callable[[list[float]], object], pairs: int) -> None:
    values = draws(pairs, 4)
    tracemalloc.start()
    tell(values)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 80 * 2**20


def test_draws_in_parts_are_those_at_once() -> None:
    values = draws(100, 5, centre=0.1)
    signs = numpy.random.default_rng(0).choice([-1.0, 1.0], size=(100_000, 100))
    extreme = numpy.count_nonzero(abs(signs @ numpy.abs(values)) >= abs(math.fsum(values)) - 1e-12)
    assert permutation_p(values) == (extreme + 1) / 100_001

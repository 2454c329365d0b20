"""Variance shares, pooled gains and rate sensitivity, against hand-made cases, pandas and numpy."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core.experiments.evidence.rate_sensitivity import rate_sensitivity
from altgrad_core.experiments.evidence.variance import pooled, shares

PAIRS = Path(__file__).parents[2] / "docs/results/confirmation/tables/pairs.csv"


def test_shares_of_the_confirmation_study_are_those_of_the_means() -> None:
    losses = {}
    for row in csv.DictReader(PAIRS.open()):
        losses[row["format"], row["optimizer"], row["seed"]] = float(row["loss"])
        losses[row["format"], row["baseline"], row["seed"]] = float(row["baseline_loss"])
    found = shares(losses, ("format", "optimizer", "seed"))
    assert found is not None
    assert [(share.name, share.levels) for share in found][:3] == [("format", 3), ("optimizer", 2), ("seed", 12)]
    assert math.fsum(share.share for share in found) == pytest.approx(1)
    frame = pandas.DataFrame(
        [(*cell, loss) for cell, loss in losses.items()], columns=["format", "optimizer", "seed", "loss"]
    )
    for share in found[:3]:
        means = frame.groupby(share.name)["loss"].transform("mean")
        assert share.share == pytest.approx(means.var(ddof=0) / frame["loss"].var(ddof=0))


def test_shares_of_a_sum_of_two_factors_are_those_of_their_squares() -> None:
    losses = {(str(a), str(b)): 1.0 * a + 2.0 * b for a in (0, 1) for b in (0, 1)}
    assert [share.share for share in shares(losses, ("a", "b")) or ()] == pytest.approx([0.2, 0.8, 0.0])


def test_a_seed_that_an_arm_lacks_is_left_out_and_a_missing_arm_gives_nothing() -> None:
    losses = {("x", "1"): 1.0, ("x", "2"): 2.0, ("y", "1"): 3.0, ("y", "2"): 4.0, ("x", "3"): 99.0}
    assert shares(losses, ("format", "seed")) == shares(
        {c: v for c, v in losses.items() if c[1] != "3"}, ("format", "seed")
    )
    assert shares({("x", "a", "1"): 1.0, ("y", "b", "1"): 2.0}, ("format", "optimizer", "seed")) is None
    assert shares({}, ()) is None and shares({("x", "1"): 1.0, ("x", "2"): 1.0}, ("format", "seed")) is None


TABLE = st.integers(3, 6).flatmap(
    lambda formats: st.lists(
        st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=4, max_size=4), min_size=formats, max_size=formats
    )
)


@settings(deadline=None)  # the first call imports scipy
@given(TABLE)
def test_pooling_keeps_the_mean_and_the_order_and_moves_towards_the_mean(table: list[list[float]]) -> None:
    found = pooled({str(place): dict(enumerate(row)) for place, row in enumerate(table)})
    assert found is not None and 0 <= found.weight <= 1 and 0 <= found.p <= 1
    own = numpy.mean(numpy.array(table), axis=1)
    assert found.mean == pytest.approx(float(own.mean()), abs=1e-12)
    for place, value in enumerate(own):
        assert abs(found.gains[str(place)] - found.mean) <= abs(value - found.mean) + 1e-12


def test_the_f_test_is_that_of_a_two_way_analysis_of_variance() -> None:
    table = numpy.array([[0.1, 0.3, 0.2, 0.25], [0.4, 0.5, 0.45, 0.6], [0.2, 0.2, 0.3, 0.1]])
    found = pooled({name: dict(enumerate(row)) for name, row in zip("abc", table.tolist(), strict=True)})
    rest = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    ratio = (4 * ((table.mean(1) - table.mean()) ** 2).sum() / 2) / ((rest**2).sum() / 6)
    assert found is not None and found.weight == pytest.approx(1 - 1 / ratio)
    # F with (2, 6) degrees of freedom: P(F > x) = (1 + x / 3) ** -3
    assert found.p == pytest.approx((1 + ratio / 3) ** -3)


def test_formats_that_differ_by_noise_alone_are_pooled_wholly() -> None:
    found = pooled({"a": {1: 0.0, 2: 1.0}, "b": {1: 1.0, 2: 0.0}, "c": {1: 0.5, 2: 0.5}})
    assert found is not None and found.weight == 0 and set(found.gains.values()) == {0.5} and found.p == 1
    assert pooled({"a": {1: 0.0}, "b": {1: 1.0}, "c": {1: 0.5}}) is None and pooled({}) is None


def test_rate_sensitivity_is_the_area_above_the_best_loss() -> None:
    assert rate_sensitivity({0.1: 3.0, 1.0: 2.0, 10.0: 3.0}, initial=5.0) == pytest.approx(0.5)
    assert rate_sensitivity({0.1: 2.0, 1.0: 2.0, 10.0: math.inf}, initial=4.0) == pytest.approx(0.5)
    assert rate_sensitivity({0.1: 2.0, 1.0: 2.0, 10.0: 2.0}, initial=4.0) == 0
    assert rate_sensitivity({0.1: 2.0, 1.0: 2.0}, initial=4.0) is None
    assert rate_sensitivity(dict.fromkeys([1.0, 2.0, 3.0], math.nan), initial=4.0) is None


@given(st.lists(st.floats(0.5, 6), min_size=3, max_size=6), st.floats(0.01, 100))
def test_rate_sensitivity_does_not_depend_on_the_unit_of_the_rate(losses: list[float], unit: float) -> None:
    own = {1.78**place: loss for place, loss in enumerate(losses)}
    other = {unit * rate: loss for rate, loss in own.items()}
    first, second = rate_sensitivity(own, initial=5.0), rate_sensitivity(other, initial=5.0)
    assert first == (None if second is None else pytest.approx(second, rel=1e-9, abs=1e-12))

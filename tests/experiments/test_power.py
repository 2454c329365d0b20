"""Power and equivalence against published numbers, scipy and simulation; contrasts counted by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import answer
from altgrad_core.experiments.evidence.heading import heading
from altgrad_core.experiments.evidence.power import detectable, detectable_effect, equivalence_p
from altgrad_core.experiments.evidence.statistics import bootstrap_interval, permutation_p, student_interval
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]


@pytest.mark.parametrize(("seeds", "expected"), [(6, 0.0129), (12, 0.0080), (24, 0.0054)])
def test_the_smallest_detectable_effect_at_a_deviation_of_0_009(seeds: int, expected: float) -> None:
    factor = detectable(seeds)
    assert factor is not None and round(0.009 * factor, 4) == expected


def test_an_effect_of_the_detectable_size_is_detected_in_80_percent_of_studies() -> None:
    generator, factor = random.Random(1), detectable(8)
    assert factor is not None
    found = sum(
        stats.ttest_1samp([generator.gauss(factor, 1.0) for _ in range(8)], 0.0).pvalue < 0.05 for _ in range(2000)
    )
    assert 0.77 < found / 2000 < 0.83


def test_too_few_pairs_detect_nothing() -> None:
    assert (detectable(2), detectable_effect([0.1, 0.2]), equivalence_p([0.0, 0.001], 0.01)) == (None, None, None)


def test_equivalence_is_two_one_sided_tests() -> None:
    values = [0.001, -0.002, 0.0005, 0.0015, -0.001]
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.90)
    within, without = equivalence_p(values, 0.003), equivalence_p(values, max(abs(interval.low), interval.high))
    assert within is not None and within < 0.05
    assert without == pytest.approx(0.05)  # the 90 % interval touches the margin
    assert equivalence_p([0.001] * 4, 0.005) == 0.0 and equivalence_p([0.02] * 4, 0.005) == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("tell", [bootstrap_interval, student_interval, permutation_p, detectable_effect])
def test_numbers_that_are_not_finite_are_refused(tell: Callable[..., Any], value: float) -> None:
    with pytest.raises(ValueError, match=rf"^value 3 of 7 is {value}; expected finite numbers$"):
        tell([0.1, 0.2, 0.1, value, 0.3, 0.1, 0.2])


def test_contrasts_are_gains_in_one_format_less_gains_in_another(study: Read, grid_of_cells: Any) -> None:
    cells = grid_of_cells({"e4m3": 0.10, "e5m2": 0.04}, noise=0.0)
    cells += grid_of_cells({"fp32": 0.09}, noise=0.0)
    cells = [c if c.format != "fp32" else type(c)(**{**vars(c), "format": None}) for c in cells]
    found = Analysis(study(cells)).interactions
    assert [(c.optimizer.split(" ")[0], c.format, c.other) for c in found] == [
        ("manifold-adamw", "e4m3", "fp32"), ("manifold-adamw", "e5m2", "fp32"), ("manifold-adamw", "e4m3", "e5m2"),
    ]  # fmt: skip
    assert [round(c.mean, 9) for c in found] == [0.01, -0.05, 0.06]
    assert [c.verdict for c in found] == ["more in e4m3", "less in e5m2", "more in e4m3"]
    assert [c.p for c in found] == [2 / 64] * 3 and [c.p_adjusted for c in found] == [6 / 64] * 3
    assert found[0].seeds == (1, 2, 3, 4, 5, 6)


def test_a_difference_within_the_margin_of_the_manifest_is_equivalent(study: Read, grid_of_cells: Any) -> None:
    cells = grid_of_cells({"e4m3": 0.100, "e5m2": 0.101}, noise=0.0005)
    known = study(cells, margin=0.005)
    (found,) = Analysis(known).interactions
    assert found.verdict == "equivalent within 0.005" and found.p_equivalence is not None
    (without,) = Analysis(replace(known, margin=None)).interactions
    assert (without.margin, without.p_equivalence) == (None, None)
    assert found.detectable == detectable_effect(found.differences)


def test_an_effect_that_is_too_small_to_matter_is_said_to_be_equal_everywhere(study: Read, grid_of_cells: Any) -> None:
    known = study(grid_of_cells({"e4m3": 0.003, "e5m2": 0.1}, noise=0.0005), margin=0.005)
    analysis = Analysis(known)
    small, large = analysis.effects
    assert (small.verdict, small.told, large.told) == ("equivalent", "equivalent within 0.005", "helps")
    assert Analysis(replace(known, margin=None)).effects[0].verdict == "helps"  # its interval excludes zero
    assert small.p_equivalence == equivalence_p(small.differences, 0.005)
    assert {effect.verdict for effect in analysis.perplexity_effects} == {"helps"}  # the margin is one of losses
    text = answer(analysis).sentence
    assert "It helps in e5m2; it equals the baseline within 0.005 in e4m3" in text
    alone = Analysis(study(grid_of_cells({"e4m3": 0.003}, noise=0.0005), place="alone", margin=0.005))
    assert "equals its baseline within 0.005" in answer(alone).sentence
    assert heading(alone).startswith("manifold-adamw does not beat adamw in e4m3")


@pytest.mark.parametrize("seeds", [1000, 100_000])
def test_many_seeds_detect_what_the_normal_distribution_says(seeds: int) -> None:
    normal = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / math.sqrt(seeds)
    assert detectable(seeds) == pytest.approx(normal, rel=2e-3)

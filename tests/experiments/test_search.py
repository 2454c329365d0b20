"""Which rates a search tries: the best ones' neighbours, and a bisection that finds a threshold it is not told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altgrad_core.experiments.matrix.search import (
    MOST_STEPS,
    WIDEST_STEP,
    around_the_best,
    bracket,
    neat,
    next_probe,
    stable_rates,
)
from altgrad_core.results.ending import Ending

GRID = [0.1, 0.316, 1.0, 3.16, 10.0]


def searched(threshold: float, *, bisections: int, grid: list[float] = GRID) -> dict[float, bool]:
    """All rates tried where those above a threshold diverge."""
    tried = {rate: rate <= threshold for rate in grid}
    while (rate := next_probe(tried, grid=grid, bisections=bisections)) is not None:
        assert rate not in tried
        tried[rate] = rate <= threshold
    return tried


@pytest.mark.parametrize(
    ("best", "kept"),
    [(0, [0.1, 0.316, 1.0]), (1, [0.1, 0.316, 1.0]), (2, [0.316, 1.0, 3.16]), (4, [1.0, 3.16, 10.0])],
)
def test_the_best_rate_is_kept_with_its_neighbours(best: int, kept: list[float]) -> None:
    losses = {rate: 1.0 + (index != best) for index, rate in enumerate(GRID)}
    assert around_the_best(losses, keep=3) == kept


def test_runs_that_did_not_end_well_are_the_worst() -> None:
    assert around_the_best({0.1: 3.0, 1.0: 2.0, 10.0: math.inf}, keep=1) == [1.0]
    assert around_the_best(dict.fromkeys(GRID, math.inf), keep=2) == [0.1, 0.316]


def test_a_spacing_of_its_own_puts_rates_around_the_best_one() -> None:
    losses = {0.1: 3.0, 1.0: 2.0, 10.0: 2.5}
    assert around_the_best(losses, keep=3, spacing=2.0) == [0.5, 1.0, 2.0]
    assert around_the_best(losses, keep=2, spacing=4.0) == [0.5, 2.0]


def test_keeping_more_than_there_are_keeps_all() -> None:
    assert around_the_best({0.1: 3.0, 1.0: 2.0}, keep=9) == [0.1, 1.0]


@given(st.floats(-6, 6).map(lambda power: 10**power), st.integers(1, 6))
def test_a_bisection_brackets_the_threshold_as_closely_as_asked(threshold: float, bisections: int) -> None:
    tried = searched(threshold, bisections=bisections)
    stable, diverged = bracket(tried)
    farthest = WIDEST_STEP**MOST_STEPS
    if max(GRID) * farthest * 0.99 < threshold or threshold < min(GRID) / farthest * 1.01:
        assert (stable is None) != (diverged is None) or len(tried) > len(GRID)
    else:
        assert stable is not None and diverged is not None
        assert stable <= threshold < diverged
        assert math.log10(diverged / stable) <= 0.51 / 2**bisections + 0.001


def test_the_probes_do_not_depend_on_what_was_tried_beside_them() -> None:
    tried = searched(2.0, bisections=3)
    again = {rate: tried[rate] for rate in GRID}
    order = []
    while (rate := next_probe(again, grid=GRID, bisections=3)) is not None:
        again[rate] = tried[rate]
        order.append(rate)
    assert order == [rate for rate in tried if rate not in GRID]


def test_a_rate_that_diverges_below_one_that_did_not_is_the_threshold() -> None:
    assert bracket({0.1: True, 1.0: False, 3.0: True, 10.0: False}) == (0.1, 1.0)


def test_where_nothing_diverges_the_search_goes_up_and_ends() -> None:
    tried = searched(math.inf, bisections=2)
    assert bracket(tried) == (max(tried), None)
    assert len(tried) == len(GRID) + MOST_STEPS


@given(st.floats(1e-9, 1e9))
def test_neat_rates_keep_four_digits(rate: float) -> None:
    assert neat(rate) == pytest.approx(rate, rel=5e-4) and neat(neat(rate)) == neat(rate)


@pytest.mark.parametrize("grid", [[3e-4, 3e-3, 3e-2], [3e-3, 3e-2], [3e-4], [1e-5, 1e-4], [0.3, 3.0], [30.0]])
@pytest.mark.parametrize("bisections", [1, 4])
def test_a_rate_that_is_too_small_to_learn_is_no_rate_that_diverges(grid: list[float], bisections: int) -> None:
    """A loss that falls from 4 as the rate grows, is below that of a guess, 3, from 0.001 on, and rises from 0.1 on."""

    def ending(rate: float) -> Ending:
        if rate > 10:
            return Ending("diverged", math.nan, 3.0)
        return Ending("finished", 4 - rate / 0.001 if rate < 0.002 else 2 if rate <= 0.1 else 3 + rate, 3.0)

    known = {rate: ending(rate) for rate in grid}
    while (rate := next_probe(stable_rates(known), grid=grid, bisections=bisections)) is not None:
        assert len(known) <= len(grid) + bisections + MOST_STEPS
        known[rate] = ending(rate)
    stable, diverged = bracket(stable_rates(known))
    reach = WIDEST_STEP**MOST_STEPS
    assert stable is None or stable <= 0.1 < (diverged or math.inf), known
    if max(grid) * reach > 0.2 and min(grid) / reach < 0.1:
        assert stable is not None and stable > 0.001, known


def test_a_run_that_diverged_is_one_however_small_its_rate() -> None:
    endings = {1.0: Ending("diverged"), 2.0: Ending("finished", 1.0, 3.0), 4.0: Ending("finished", 5.0, 3.0)}
    assert stable_rates(endings) == {1.0: False, 2.0: True, 4.0: False}
    assert stable_rates({1.0: Ending("crashed"), 2.0: Ending("diverged")}) == {1.0: False, 2.0: False}
    assert stable_rates({1.0: Ending("finished", 5.0, 3.0)}) == {1.0: False}
    assert stable_rates({1.0: Ending("finished", 5.0)}) == {1.0: True}

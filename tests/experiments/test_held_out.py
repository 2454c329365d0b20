"""The rate that the other seeds choose, against a choice that looks at each set of other seeds anew."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from altgrad_core.experiments.evidence.arms import HeldOut, RatePoint, _held_out

SEEDS = range(5)
LOSSES = st.sampled_from([2.0, 2.5, None]) | st.floats(1.0, 3.0)  # None: it diverged


def point_of(rate: float, found: dict[int, float | None], *, without: int | None = None) -> RatePoint:
    losses = {seed: loss for seed, loss in found.items() if loss is not None and seed != without}
    diverged = tuple(seed for seed, loss in found.items() if loss is None and seed != without)
    return RatePoint(rate, losses, diverged, math.fsum(losses.values()) / len(losses) if losses else None)


def chosen_of(tried: list[dict[int, float | None]], *, without: int | None = None) -> int:
    points = [point_of(float(index), found, without=without) for index, found in enumerate(tried)]
    most = max(point.of for point in points)
    ranks = {i: (p.diverged, math.inf if p.mean is None else p.mean) for i, p in enumerate(points) if p.of == most}
    return min(ranks, key=lambda index: ranks[index])


@given(st.lists(st.dictionaries(st.sampled_from(SEEDS), LOSSES, min_size=1), min_size=1, max_size=4))
def test_a_seed_is_judged_at_the_rate_that_is_best_for_the_others(tried: list[dict[int, float | None]]) -> None:
    best = chosen_of(tried)
    seeds = tried[best]
    expected = {}
    for seed in sorted(seeds):
        index = chosen_of(tried, without=seed) if len(seeds) >= 3 else best
        if seed in tried[index]:
            expected[seed] = HeldOut(float(index), tried[index][seed])
    points = tuple(point_of(float(index), found) for index, found in enumerate(tried))
    assert _held_out(points, points[best]) == expected

"""Arms, chosen rates and paired effects, on losses that are known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.arms import rate_points
from altgrad_core.experiments.evidence.effects import LOSS, PERPLEXITY, in_metric
from altgrad_core.experiments.evidence.statistics import adjusted, bootstrap_interval, permutation_p
from altgrad_core.experiments.report.write import write_report
from altgrad_core.experiments.study.registration import Registration, write_registrations
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]
RATES = (0.01, 0.1, 1.0)


def sweep(made: Any, losses: dict[float, Sequence[float | None]], **more: Any) -> list[Any]:
    """Cells by rate, a loss for each seed from 1 on; None diverges."""
    return [
        made(rate=rate, seed=seed, loss=loss, **more)
        for rate, column in losses.items()
        for seed, loss in enumerate(column, start=1)
    ]


def test_the_rate_of_the_lowest_mean_loss_is_chosen(study: Read, made: Any) -> None:
    (arm,) = Analysis(study(sweep(made, {0.01: [2.0, 2.2], 0.1: [1.8, 2.0], 1.0: [1.7, 2.4]}))).arms
    assert (arm.rate, arm.losses, arm.diverged, arm.of) == (0.1, {1: 1.8, 2: 2.0}, 0, 2)
    assert [(point.rate, point.mean, point.of) for point in arm.tried] == [
        (0.01, pytest.approx(2.1), 2), (0.1, pytest.approx(1.9), 2), (1.0, pytest.approx(2.05), 2),
    ]  # fmt: skip
    assert arm.is_swept and arm.is_tuned and not arm.is_at_an_end


def test_a_rate_at_which_fewer_diverge_comes_first(study: Read, made: Any) -> None:
    (arm,) = Analysis(study(sweep(made, {0.01: [2.5, 2.5], 0.1: [2.4, 2.4], 1.0: [1.0, None]}))).arms
    assert (arm.rate, arm.tried[2].diverged, arm.tried[2].mean) == (0.1, 1, 1.0)


def test_where_all_diverge_they_are_counted(study: Read, made: Any) -> None:
    (arm,) = Analysis(study(sweep(made, {0.1: [None, None, None]}))).arms
    assert (arm.losses, arm.diverged, arm.of, arm.held_out[1].loss) == ({}, 3, 3, None)


def test_a_rate_that_fewer_seeds_ended_at_is_tried_but_not_chosen(study: Read, made: Any) -> None:
    (arm,) = Analysis(study(sweep(made, {0.01: [1.0], 0.1: [2.0, 2.0], 1.0: [3.0, 3.0]}))).arms
    assert (arm.rate, len(arm.tried)) == (0.1, 3)


def test_the_best_of_two_rates_or_at_an_end_is_not_tuned(study: Read, made: Any) -> None:
    cells = sweep(made, {0.1: [2.0], 1.0: [3.0]}) + sweep(made, {0.1: [2], 1.0: [3], 2.0: [4]}, format="e5m2")
    two, end = Analysis(study(cells)).arms
    assert (two.is_swept, two.is_tuned) == (False, False)
    assert (end.is_swept, end.is_at_an_end, end.is_tuned) == (True, True, False)


def test_a_rate_that_is_only_planned_is_not_tried(study: Read, made: Any) -> None:
    missing = [made(rate=rate, status="missing") for rate in (0.2, 0.4)]
    (arm,) = Analysis(study([*sweep(made, {0.1: [2.0]}), *missing])).arms
    assert ([point.rate for point in arm.tried], arm.is_swept) == ([0.1], False)
    _, planned = Analysis(study([made(), made("e5m2", status="missing")], place="planned")).arms
    assert (planned.tried, planned.rate, planned.is_at_an_end, planned.is_tuned) == ((), None, False, False)


def test_probes_are_not_in_an_arm(study: Read, made: Any) -> None:
    found = study([*sweep(made, {0.1: [2.0]}), made(rate=0.5, loss=1.0, role="probe")])
    (arm,) = Analysis(found).arms
    assert [point.rate for point in arm.tried] == [0.1]
    assert [point.rate for point in rate_points(found.results)] == [0.1, 0.5]


def test_a_seed_is_judged_at_the_rate_that_the_others_choose(study: Read, made: Any) -> None:
    losses = {0.1: [2.0, 2.0, 2.0], 1.0: [0.5, 2.4, 2.4]}
    (arm,) = Analysis(study(sweep(made, losses))).arms
    assert arm.rate == 1.0
    assert {seed: (held.rate, held.loss) for seed, held in arm.held_out.items()} == {
        1: (0.1, 2.0), 2: (1.0, 2.4), 3: (1.0, 2.4),
    }  # fmt: skip


def test_two_seeds_are_judged_at_the_chosen_rate(study: Read, made: Any) -> None:
    (arm,) = Analysis(study(sweep(made, {0.1: [2.0, 2.0], 1.0: [0.5, 2.4]}))).arms
    assert {seed: held.rate for seed, held in arm.held_out.items()} == {1: 1.0, 2: 1.0}


def test_choosing_by_other_seeds_does_not_flatter(study: Read, made: Any) -> None:
    """Of rates that are all the same, the lowest of six noisy means is no gain over the one rate of the baseline."""
    generator, held, chosen = random.Random(4), [], []
    for trial in range(8):
        losses = {0.1 * rate: [2 + generator.gauss(0, 0.1) for _ in range(3)] for rate in range(1, 7)}
        (arm,) = Analysis(study(sweep(made, losses), place=f"trial-{trial}")).arms
        held += [h.loss for h in arm.held_out.values() if h.loss is not None]
        chosen += list(arm.losses.values())
    assert sum(chosen) / len(chosen) < 1.97
    assert abs(sum(held) / len(held) - 2) < 0.05


def test_an_effect_is_the_difference_from_the_baseline_seed_by_seed(study: Read, made: Any) -> None:
    base, other = [2.0, 2.1, 2.2, 2.0, 2.1, 2.2], [1.9, 2.05, 2.0, 1.95, 2.0, 2.15]
    cells = sweep(made, dict.fromkeys(RATES, base)) + sweep(
        made, dict.fromkeys(RATES, other), optimizer="manifold-adamw"
    )
    (effect,) = Analysis(study(cells)).effects
    assert effect.differences == pytest.approx([0.1, 0.05, 0.2, 0.05, 0.1, 0.05])
    assert (effect.format, effect.optimizer, effect.seeds) == ("e4m3", "manifold-adamw", (1, 2, 3, 4, 5, 6))
    assert effect.interval == bootstrap_interval(effect.differences)
    assert effect.p == permutation_p(effect.differences) == effect.p_adjusted
    assert effect.verdict == "helps"
    (turned,) = Analysis(study(cells, place="turned", baseline="manifold-adamw")).effects
    assert (turned.optimizer, turned.verdict) == ("adamw", "hurts")
    assert turned.differences == tuple(-difference for difference in effect.differences)


def test_the_effect_on_perplexity_is_that_of_the_exponentials(study: Read, made: Any) -> None:
    cells = sweep(made, {0.1: [2.0, 2.5]}) + sweep(made, {0.1: [1.9, 2.6]}, optimizer="manifold-adamw")
    (effect,) = Analysis(study(cells)).perplexity_effects
    assert effect.differences == pytest.approx([math.exp(2) - math.exp(1.9), math.exp(2.5) - math.exp(2.6)])


def test_a_loss_whose_perplexity_is_beyond_float64_has_none() -> None:
    assert in_metric(700.0, PERPLEXITY) is None
    assert in_metric(2.0, PERPLEXITY) == math.exp(2)
    assert (in_metric(900.0, LOSS), in_metric(None, LOSS)) == (900.0, None)


def test_only_seeds_of_both_sides_are_compared(study: Read, made: Any) -> None:
    cells = [*sweep(made, {0.1: [2.0, 2.1, 2.2]}), made(seed=3, loss=2.0, optimizer="manifold-adamw")]
    (effect,) = Analysis(study(cells)).effects
    assert (effect.seeds, effect.differences) == ((3,), pytest.approx((0.2,)))
    assert (effect.interval, effect.p, effect.verdict) == (None, None, "unclear")


def test_a_pair_with_a_diverged_side_is_named_and_not_in_the_mean(study: Read, made: Any) -> None:
    cells = sweep(made, {0.1: [2.0, 2.1, 2.2]}) + sweep(made, {0.1: [1.9, None, 2.1]}, optimizer="manifold-adamw")
    (effect,) = Analysis(study(cells)).effects
    assert (effect.seeds, effect.diverged_seeds) == ((1, 3), (2,))
    assert effect.caution == (
        "2 seeds in common, as 1 pair had a side that diverged (3 are needed)",
        "no learning-rate sweep: adamw was run at 1 rate and manifold-adamw was run at 1 rate (3 are needed)",
        "manifold-adamw diverged in 1 of 3 at its best rate, 0.1",
        "1 pair without a difference, as one side diverged (seeds 2)",
    )


def test_a_best_rate_at_an_end_is_a_caution(study: Read, made: Any) -> None:
    base = {0.01: [2.0] * 3, 0.1: [1.9] * 3, 1.0: [2.0] * 3}
    ends = {0.01: [2.0] * 3, 0.1: [1.9] * 3, 1.0: [1.8] * 3}
    (effect,) = Analysis(study(sweep(made, base) + sweep(made, ends, optimizer="manifold-adamw"))).effects
    assert effect.caution == ("the best rate of manifold-adamw, 1, is the largest tried",)
    assert effect.lacks == ()


def test_p_values_are_corrected_for_all_comparisons(study: Read, grid_of_cells: Any) -> None:
    found = Analysis(study(grid_of_cells({"e5m2": 0.1, "e4m3": 0.005, "e3m4": 0.0}))).effects
    ps = [effect.p for effect in found]
    assert None not in ps
    assert [effect.p_adjusted for effect in found] == adjusted([p for p in ps if p is not None])
    assert found[0].p_adjusted == pytest.approx(3 * 2 / 64)


def test_variants_are_compared_among_themselves(study: Read, made: Any) -> None:
    kinds = ("nearest-even", "stochastic")
    cells = [
        made(optimizer=o, seed=s, loss=2.0 - 0.1 * (o != "adamw") * i, quantizer={"rounding": kind})
        for i, kind in enumerate(kinds) for o in ("adamw", "manifold-adamw") for s in (1, 2)
    ]  # fmt: skip
    found = {effect.variant: effect.mean for effect in Analysis(study(cells)).effects}
    assert found == {"rounding=nearest-even": 0.0, "rounding=stochastic": pytest.approx(0.1)}


def test_of_two_cells_with_one_rate_and_seed_the_first_counts(study: Read, made: Any) -> None:
    found = study([made(loss=2.0), made(loss=3.0, set={"run.threads": 2})])
    (arm,) = Analysis(found).arms
    assert arm.losses == {1: 2.0}
    assert found.problems == (
        f"{made().name} and {made(set={'run.threads': 2}).name} have the same format, optimizer, variant, rate and seed; "
        "only the first that ended is compared",
    )


def test_an_end_is_that_of_the_rates_that_all_seeds_tried(study: Read, made: Any) -> None:
    """One seed tried four rates, the others three: the best is the largest of the three."""
    cells = [*sweep(made, {0.01: [2.0] * 3, 0.1: [1.9] * 3, 1.0: [1.8] * 3}), made(rate=10.0, seed=1, loss=3.0)]
    (arm,) = Analysis(study(cells)).arms
    assert (arm.rate, arm.window, arm.end, arm.is_at_an_end, arm.is_tuned) == (
        1.0,
        (0.01, 0.1, 1.0),
        "largest",
        True,
        False,
    )


@pytest.mark.parametrize(("ended", "judged"), [(0, "helps"), (3, "not judged (1 rate)"), (None, "not judged (1 rate)")])
def test_a_rate_that_was_declared_in_advance_needs_no_sweep(
    write: Callable[..., Path], made: Any, ended: int | None, judged: str
) -> None:
    losses = {"adamw": (2.3, 2.31, 2.32, 2.33), "manifold-adamw": (2.1, 2.12, 2.11, 2.14)}
    cells = [cell for name, column in losses.items() for cell in sweep(made, {0.1: column}, optimizer=name)]
    folder = write(cells, confirms=ended is not None)
    if ended is not None:
        write_registrations(folder, [Registration("2026-11-29T00:00:00Z", "0" * 64, ended, "it helps", 0.005, "t")])
    page = write_report(folder).page.read_text()
    assert judged in page
    assert ("one learning rate that was declared before training" in page) == (ended == 0)

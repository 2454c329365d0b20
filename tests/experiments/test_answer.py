"""What a report says first: winners, null results, refusals, and the caution that each deserves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import Answer, answer
from altgrad_core.experiments.evidence.effects import PERPLEXITY
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]
SMALL = "The study covers 4,400 parameters, 4 steps, synthetic, with formats emulated in float32; its results may not hold elsewhere."
HELD_OUT = "Each seed is judged at the rate that the other seeds choose, so the rate is not chosen by its own result."


def with_losses(cells: list[Any], change: Callable[[Any], dict[str, Any]]) -> list[Any]:
    """The cells, with some fields changed."""
    return [replace(cell, **change(cell)) for cell in cells]


def test_a_clear_winner_is_named_with_its_runner_up(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.08, "e4m3": 0.04, "e0m7": -0.05, "e3m4": 0.0}))))
    assert found.is_ranked
    assert found.sentence == (
        "Format e5m2 benefits most from manifold-adamw: validation loss 0.08 nats per token lower than with adamw (95 % "
        "interval 0.0753 to 0.0844, 6 seeds, p = 0.125 after correction), and more than in the runner-up, e4m3 (0.04 nats "
        "per token more, 95 % interval 0.0311 to 0.0465). It helps in e5m2 and e4m3 and hurts in e0m7; an "
        "interval includes zero in e3m4."
    )
    assert found.cautions == (
        "6 seeds; helps and hurts need a bootstrap interval and a Student's t interval that agree.",
        "3 learning rates tried for each optimizer and format.",
        HELD_OUT,
        "The intervals of 4 effects are not corrected for their number: without any real effect, about 0.2 of "
        "them would still seem to help or hurt.",
        "Exact paired permutation tests, corrected for 4 comparisons (Holm): p is below 0.05 in none; with so "
        "few seeds the smallest possible p is 0.12.",
        "Diverged: 0 of 144 cells that ended.",
        SMALL,
    )


def test_the_same_is_said_of_perplexity(study: Read, grid_of_cells: Any) -> None:
    cells = grid_of_cells({"e5m2": 0.08, "e4m3": 0.0})
    best = {(c.format, c.optimizer, c.seed): math.exp(c.loss) for c in cells if c.rate == 0.1}
    gain = sum(best["e5m2", "adamw", s] - best["e5m2", "manifold-adamw", s] for s in range(1, 7)) / 6
    assert answer(Analysis(study(cells)), PERPLEXITY).sentence.startswith(
        f"Format e5m2 benefits most from manifold-adamw: perplexity {gain:.3g} lower than with adamw (95 % interval 0.5"
    )


def test_two_close_formats_are_not_separated(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.05, "e4m3": 0.049}))))
    assert "; the data do not separate it from the runner-up, e4m3 (0.001 nats per token more" in found.sentence
    assert "It helps in each of the 2 formats ranked: e5m2 and e4m3." in found.sentence


def test_a_null_result_reads_as_one(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.001, "e4m3": 0.0, "e3m4": -0.001}))))
    assert found.sentence.startswith(
        "No format is shown to benefit from manifold-adamw over adamw: the most favourable effect, in e5m2, is "
        "not shown to differ from zero: validation loss 0.001 nats per token lower than with adamw (95 % interval -0.00"
    )
    assert found.sentence.endswith("An interval includes zero in each of the 3 formats ranked: e5m2, e4m3 and e3m4.")
    assert found.is_ranked


def test_noise_alone_rarely_helps_or_hurts(study: Read, made: Any) -> None:
    generator = Random(8)
    cells = [
        made(format, optimizer, rate, seed, 2 + generator.gauss(0, 0.05))
        for format in ("e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0", "e0m7")
        for optimizer in ("adamw", "manifold-adamw")
        for rate in (0.01, 0.1, 1.0)
        for seed in (1, 2, 3)
    ]
    found = study(cells)
    assert sum(effect.verdict != "unclear" for effect in Analysis(found).effects) <= 1


def test_an_optimizer_that_hurts_everywhere_is_said_to(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": -0.08, "e4m3": -0.2}))))
    assert found.sentence.startswith(
        "The optimizer manifold-adamw hurts in every format ranked, least in e5m2: validation loss 0.08 nats per token "
        "higher than with adamw (95 % interval 0.0756 to 0.0847"
    )


def test_three_seeds_rank_with_the_caution_they_deserve(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.2, "e4m3": 0.0}, seeds=[1, 2, 3]))))
    assert found.sentence.startswith(
        "Format e5m2 benefits most from manifold-adamw: validation loss 0.2 nats per token"
    )
    assert ", p = " not in found.sentence
    assert found.cautions[0] == (
        "3 seeds: p-values need 6 pairs, and a bootstrap interval of 3 covers the true centre in at most 75 % of studies "
        "instead of 95 %, so helps and hurts also need Student's t."
    )


def test_wide_formats_stand_beside_and_are_not_ranked(study: Read, grid_of_cells: Any) -> None:
    wide = grid_of_cells({"bf16": 0.0})
    cells = grid_of_cells({"e5m2": 0.2, "e4m3": 0.1}) + wide + with_losses(wide, lambda cell: {"format": None})
    found = answer(Analysis(study(cells)))
    assert found.sentence.startswith("Format e5m2 benefits most")
    assert "bf16" not in found.sentence.split("For reference")[0]
    assert found.sentence.endswith(
        " For reference, validation loss with adamw: bf16 1.995 and fp32 1.995 nats per token."
    )


def test_formats_with_one_grid_are_ranked_together(study: Read, grid_of_cells: Any) -> None:
    cells = grid_of_cells({"e0m7": 0.2, "e4m3": 0.1})
    cells += with_losses([c for c in cells if c.format == "e0m7"], lambda cell: {"format": "e1m6"})
    found = answer(Analysis(study(cells)))
    assert found.sentence.startswith(
        "Formats e0m7 and e1m6, with identical effects, benefit most from manifold-adamw: "
    )
    assert "runner-up, e4m3" in found.sentence


def test_every_optimizer_gets_a_sentence(study: Read, grid_of_cells: Any) -> None:
    cells = grid_of_cells({"e5m2": 0.2, "e4m3": 0.1})
    others = [c for c in cells if c.optimizer == "adamw" and c.rate == 0.1]
    worse = with_losses(others, lambda c: {"optimizer": "grid", "loss": c.loss + 0.3})
    found = answer(Analysis(study([*cells, *worse])))
    assert "Format e5m2 benefits most from manifold-adamw" in found.sentence
    assert "No ranking of formats by the gain of grid over adamw: no learning-rate sweep: grid was run at 1 rate" in (
        found.sentence
    )


def test_one_format_is_an_effect_but_no_ranking(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.08}))))
    assert not found.is_ranked
    assert found.sentence == (
        "In e5m2, the only format, manifold-adamw helps: validation loss 0.08 nats per token lower than with adamw (95 % "
        "interval 0.0753 to 0.0844, 6 seeds, p = 0.0312 after correction)."
    )
    assert (
        "Exact paired permutation tests, corrected for 1 comparison (Holm): p is below 0.05 in manifold-adamw in e5m2."
        in found.cautions
    )


def test_one_optimizer_is_compared_with_nothing(study: Read, made: Any) -> None:
    assert answer(Analysis(study([made(loss=2.5)]))) == Answer(
        "Nothing is compared: all cells have the same optimizer. Validation loss: adamw in e4m3 2.5 nats per token.",
        ("Diverged: 0 of 1 cell that ended.", SMALL),
    )


def test_before_anything_has_ended_nothing_is_said(study: Read, made: Any) -> None:
    found = answer(Analysis(study([made(status="unfinished"), made(seed=2, status="missing")])))
    assert found.sentence == "No cell of this study has ended, so there is nothing to say yet."
    assert found.cautions == ("2 of 2 cells have no result: 1 unfinished and 1 missing.",)


def test_the_main_variant_is_named_and_the_others_are_too(study: Read, grid_of_cells: Any) -> None:
    cells = grid_of_cells({"e5m2": 0.2, "e4m3": 0.1})
    aside = with_losses(
        [c for c in cells if c.seed < 4 and c.rate == 0.1], lambda c: {"quantizer": {"rounding": "stochastic"}}
    )
    found = answer(Analysis(study([*aside, *cells])))
    assert found.sentence.startswith("Format e5m2 benefits most")
    assert "The answer is for one variant, rounding=nearest-even; not for: rounding=stochastic." in found.cautions


def test_hostile_names_are_passed_on_as_they_are(study: Read, made: Any) -> None:
    nasty = "<script>alert(1)</script>"
    found = answer(Analysis(study([made(optimizer=nasty, loss=2.0), made(loss=2.1)])))
    assert nasty in found.sentence


def test_an_optimizer_that_is_the_baseline_by_another_name_is_said_to_be(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.0, "e4m3": 0.0}, noise=0.0))))
    assert found.sentence == "The optimizer manifold-adamw gives exactly the losses of adamw in e5m2 and e4m3."


def test_probes_for_the_largest_rate_are_counted_and_said_to_be_such(
    study: Read, grid_of_cells: Any, made: Any
) -> None:
    def said(more: list[Any], place: str) -> str:
        found = answer(Analysis(study([*grid_of_cells({"e5m2": 0.1, "e4m3": 0.0}), *more], place=place)))
        return next(caution for caution in found.cautions if caution.startswith("Diverged"))

    probe, second = (made("e5m2", rate=rate, loss=None, role="probe") for rate in (9.0, 8.0))
    search = "in the search for the largest stable rate"
    assert said([probe], "one") == f"Diverged: 1 of 73 cells that ended, {search}."
    assert said([probe, second], "two") == f"Diverged: 2 of 74 cells that ended, all {search}."
    lost = made("e5m2", rate=9.0, seed=2, loss=None)
    assert said([probe, lost], "both") == f"Diverged: 2 of 74 cells that ended, 1 of them {search}."


def test_where_no_rate_matters_none_is_at_an_end(study: Read, grid_of_cells: Any) -> None:
    flat = with_losses(grid_of_cells({"e5m2": 0.1, "e4m3": 0.0}), lambda c: {"loss": 2.0 + c.seed})
    assert not any("at an end" in caution for caution in answer(Analysis(study(flat))).cautions)


def test_a_noisy_largest_effect_does_not_hide_a_clear_smaller_one(study: Read, grid_of_cells: Any) -> None:
    def noisy(cell: Any) -> dict[str, Any]:
        is_noisy = cell.format == "e5m2" and cell.optimizer != "adamw" and cell.seed == 1
        return {"loss": cell.loss - 3.0} if is_noisy else {}

    found = answer(Analysis(study(with_losses(grid_of_cells({"e5m2": 0.0, "e4m3": 0.1}), noisy))))
    assert found.sentence.startswith(
        "It is not clear which format benefits most from manifold-adamw over adamw: the most favourable effect, in e5m2, "
        "is not shown to differ from zero: validation loss 0.5 nats per token lower"
    )
    assert found.sentence.endswith("It helps in e4m3; an interval includes zero in e5m2.")


def test_where_the_least_harm_is_clear_it_is_called_harm(study: Read, grid_of_cells: Any) -> None:
    def noisy(cell: Any) -> dict[str, Any]:
        is_noisy = cell.format == "e5m2" and cell.optimizer != "adamw" and cell.seed == 1
        return {"loss": cell.loss + 3.0} if is_noisy else {}

    found = answer(Analysis(study(with_losses(grid_of_cells({"e5m2": 0.0, "e4m3": -0.1}), noisy))))
    assert found.sentence.startswith(
        "No format is shown to benefit from manifold-adamw over adamw: the most favourable effect, in e4m3, is "
        "negative: validation loss 0.1 nats per token higher than with adamw (95 % interval 0.09"
    )
    assert found.sentence.endswith("It hurts in e4m3; an interval includes zero in e5m2.")

"""Where the evidence is too little, the answer refuses and says what is missing."""

from __future__ import annotations

from typing import Any

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import answer
from tests.experiments.test_answer import Read, with_losses


def test_one_seed_is_not_evidence(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.02, "e4m3": -0.01}, seeds=[7]))))
    assert not found.is_ranked
    assert found.refusal == "No ranking: one seed is not evidence. A ranking needs 3 seeds in common."
    assert found.sentence == (
        f"{found.refusal} Observed, without enough evidence: with manifold-adamw instead of adamw, in e5m2 validation loss "
        "0.02 nats per token lower and in e4m3 validation loss 0.01 nats per token higher."
    )
    assert found.cautions[0] == "3 learning rates tried for each optimizer and format."
    assert "The rates were chosen with the same seeds that are compared, which favours both sides." in found.cautions


def test_two_seeds_and_no_sweep_are_refused_with_what_is_missing(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.02, "e4m3": 0.0}, seeds=[1, 2], rates=[0.1]))))
    assert found.sentence.startswith(
        "No ranking: 2 pairs are too few, and no learning-rate sweep was made. A ranking needs 3 seeds in common and 3 "
        "learning rates of each optimizer (1 was tried). Observed, without"
    )
    assert found.cautions[0] == "Diverged: 0 of 8 cells that ended."


def test_every_refused_optimizer_has_what_was_seen_and_the_refusal_is_said_once(
    study: Read, grid_of_cells: Any
) -> None:
    cells = grid_of_cells({"e5m2": 0.02}, seeds=[1], rates=[0.1])
    worse = with_losses(
        [c for c in cells if c.optimizer == "adamw"], lambda c: {"optimizer": "grid", "loss": c.loss + 0.3}
    )
    assert answer(Analysis(study([*cells, *worse]))).sentence == (
        "No ranking: one seed is not evidence, and no learning-rate sweep was made. A ranking needs 3 seeds in common and 3 "
        "learning rates of each optimizer (1 was tried). Observed, without enough evidence: with manifold-adamw instead "
        "of adamw, in e5m2 validation loss 0.02 nats per token lower; with grid instead of adamw, in e5m2 validation loss "
        "0.3 nats per token higher."
    )


def test_pairs_that_diverged_are_a_reason_to_refuse(study: Read, grid_of_cells: Any) -> None:
    def lost(cell: Any) -> dict[str, Any]:
        return {"loss": None} if cell.optimizer != "adamw" else {}

    found = answer(Analysis(study(with_losses(grid_of_cells({"e5m2": 0.2}), lost))))
    assert found.sentence == (
        "No ranking: there is no pair of runs in which both sides trained. A ranking needs 3 seeds in common."
    )


def test_many_seeds_without_a_sweep_are_refused(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.2, "e4m3": 0.0}, rates=[0.1, 0.2]))))
    assert found.sentence.startswith(
        "No ranking: the learning rates tried are too few. A ranking needs 3 learning rates of each optimizer (2 "
        "were tried)."
    )


def test_a_best_rate_at_an_end_is_said(study: Read, grid_of_cells: Any) -> None:
    found = answer(Analysis(study(grid_of_cells({"e5m2": 0.02, "e4m3": 0.0}, rates=[0.1, 0.2, 0.4]))))
    assert found.cautions[2] == (
        "The best rate is at an end of the range, so a better one may lie beyond it: adamw in e5m2 (smallest of 3, 0.1), "
        "manifold-adamw in e5m2 (smallest of 3, 0.1), adamw in e4m3 (smallest of 3, 0.1) and manifold-adamw in e4m3 "
        "(smallest of 3, 0.1)."
    )


def test_where_all_diverged_there_is_nothing_to_compare(study: Read, grid_of_cells: Any) -> None:
    cells = with_losses(grid_of_cells({"e5m2": 0.0, "e4m3": 0.0}, seeds=[1, 2]), lambda cell: {"loss": None})
    found = answer(Analysis(study(cells)))
    assert found.sentence == "All 24 cells that ended diverged, so there is no loss to compare."
    assert "Diverged: 24 of 24 cells that ended." in found.cautions


def test_pairs_that_diverged_are_counted_and_named(study: Read, grid_of_cells: Any) -> None:
    def lost(cell: Any) -> dict[str, Any]:
        is_lost = (cell.format, cell.optimizer, cell.seed) == ("e4m3", "manifold-adamw", 2)
        return {"loss": None} if is_lost else {}

    found = answer(Analysis(study(with_losses(grid_of_cells({"e5m2": 0.2, "e4m3": 0.1}), lost))))
    assert "Diverged: 3 of 72 cells that ended." in found.cautions
    assert "Some diverged even at their best rate: manifold-adamw in e4m3 (1 of 6)." in found.cautions
    assert (
        "Pairs with a diverged side have no difference and are not in the mean: manifold-adamw in e4m3, seed 2."
        in found.cautions
    )


def test_cells_without_a_result_are_counted(study: Read, grid_of_cells: Any) -> None:
    def gone(cell: Any) -> dict[str, Any]:
        return {"status": "missing"} if cell.seed == 3 else {"status": "crashed"} if cell.seed == 5 else {}

    found = answer(Analysis(study(with_losses(grid_of_cells({"e5m2": 0.2, "e4m3": 0.1}), gone))))
    assert "24 of 72 cells have no result: 12 crashed and 12 missing." in found.cautions
    assert "6 seeds" not in found.sentence and "4 seeds" in found.sentence


def test_a_format_that_lacks_seeds_is_left_out_of_the_ranking_and_named(study: Read, grid_of_cells: Any) -> None:
    cells = [c for c in grid_of_cells({"e5m2": 0.2, "e4m3": 0.1, "e3m4": 0.5}) if c.format != "e3m4" or c.seed < 3]
    found = answer(Analysis(study(cells)))
    assert found.sentence.startswith("Format e5m2 benefits most")
    assert "Not ranked: manifold-adamw in e3m4 (2 seeds in common (3 are needed))." in found.cautions

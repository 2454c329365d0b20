"""The answer where more than a few optimizers are compared: the first one, and an overview of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import MOST_APART, answer
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]


def several(grid_of_cells: Any, gains: dict[str, dict[str, float]], seeds: range = range(1, 7)) -> list[Any]:
    """The cells of adamw and of as many other optimizers as there are gains, by format."""
    found = [cell for cell in grid_of_cells(next(iter(gains.values())), seeds=seeds) if cell.optimizer == "adamw"]
    for name, of_it in gains.items():
        others = [cell for cell in grid_of_cells(of_it, seeds=seeds) if cell.optimizer != "adamw"]
        found += [replace(cell, optimizer=name) for cell in others]
    return found


def test_many_optimizers_are_told_by_what_is_shown_of_them(study: Read, grid_of_cells: Any) -> None:
    gains = {
        "madam": {"e5m2": 0.08, "e4m3": 0.04},
        "grid": {"e5m2": 0.0, "e4m3": 0.2},
        "sgd": {"e5m2": -0.5, "e4m3": -0.3},
        "lamb": {"e5m2": 0.0, "e4m3": 0.0},
    }
    cells = several(grid_of_cells, gains)
    same = [replace(cell, optimizer="adamw-kahan") for cell in cells if cell.optimizer == "adamw"]
    found = answer(Analysis(study(cells + same)))
    assert found.is_ranked
    assert found.sentence == (
        "Format e5m2 benefits most from madam: validation loss 0.08 nats per token lower than with adamw (95 % interval "
        "0.0753 to 0.0844, 6 seeds, p = 0.312 after correction), and more than in the runner-up, e4m3 (0.04 nats per token "
        "more, 95 % interval 0.0311 to 0.0465). It helps in each of the 2 formats ranked: e5m2 and e4m3. "
        "4 others are compared with adamw. Helps: grid in e4m3. Hurts: sgd in e5m2 and e4m3. An interval "
        "includes zero in every format: lamb. Exactly the losses of adamw: adamw-kahan."
    )


def test_none_of_many_may_gain(study: Read, grid_of_cells: Any) -> None:
    gains = {name: {"e5m2": loss} for name, loss in {"madam": 0.0, "grid": -0.01, "sgd": -0.5, "lamb": -0.2}.items()}
    said = answer(Analysis(study(several(grid_of_cells, gains)))).sentence
    assert said.startswith(
        "None of the 4 optimizers judged is shown to gain over adamw in e5m2; the most favourable effect is that "
        "of madam in e5m2: "
    )
    assert "Helps:" not in said and "Hurts: sgd in e5m2; lamb in e5m2; grid in e5m2." in said


def test_that_all_hurt_is_said_without_a_doubt(study: Read, grid_of_cells: Any) -> None:
    gains = {name: {"e5m2": loss} for name, loss in {"madam": -0.1, "grid": -0.2, "sgd": -0.5, "lamb": -0.2}.items()}
    said = answer(Analysis(study(several(grid_of_cells, gains)))).sentence
    assert said.startswith("None of the 4 optimizers judged is shown to gain") and "includes zero" not in said


def test_one_that_helps_but_has_no_ranking_is_in_the_overview(study: Read, grid_of_cells: Any) -> None:
    gains = {name: {"e5m2": 0.1, "e4m3": -0.2} for name in ("madam", "grid", "sgd", "lamb")}
    cells = several(grid_of_cells, {**gains, "madam": {"e5m2": 0.3, "e4m3": 0.3}})
    others = [replace(c, loss=c.loss + 0.5) if c.optimizer not in ("adamw", "madam") else c for c in cells]
    lone = [c for c in others if c.optimizer != "madam" or c.format == "e5m2" or c.seed == 1]
    said = answer(Analysis(study(lone))).sentence
    assert said.startswith("4 optimizers are compared with adamw. Helps: madam in e5m2. Hurts: ")


def test_what_was_run_too_little_is_named(study: Read, grid_of_cells: Any) -> None:
    gains = {name: {"e5m2": 0.1} for name in ("madam", "grid", "sgd", "lamb")}
    cells = [c for c in several(grid_of_cells, gains) if c.optimizer != "lamb" or c.seed == 1]
    said = answer(Analysis(study(cells))).sentence
    assert said.endswith(
        "3 others are compared with adamw. Helps: grid in e5m2; sgd in e5m2. Too few runs to judge lamb."
    )


def test_a_few_keep_their_sentences(study: Read, grid_of_cells: Any) -> None:
    gains = {name: {"e5m2": 0.1, "e4m3": 0.0} for name in ("madam", "grid", "sgd")}
    said = answer(Analysis(study(several(grid_of_cells, gains)))).sentence
    assert len(gains) == MOST_APART and said.count("benefits most from") == 3

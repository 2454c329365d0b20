"""What trained weights lose under the recipes of `[[evaluate]]`: in the report, in the tables and as a frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import altgrad_core as ag
from altgrad_core.experiments.report.write import write_report

Write = Callable[..., Path]


def test_the_report_says_what_each_recipe_costs_and_over_how_many_seeds(write: Write, made: Any) -> None:
    costs = {1: 0.10, 2: 0.20, 3: 0.30}
    cells = [
        made(optimizer=name, seed=seed, evaluations={"unquantized": 2.0, "e2m1": 2.0 + cost * (1 + index)})
        for index, name in enumerate(("adamw", "manifold-adamw"))
        for seed, cost in costs.items()
    ]
    directory = write([*cells, made(optimizer="adamw", seed=4, evaluations={"unquantized": 2.0, "e2m1": "NaN"})])
    twin = write_report(directory).markdown.read_text()
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in twin.splitlines() if "| e2m1 |" in line]
    assert [(row[1], row[3:6]) for row in rows] == [
        ("adamw", ["3", "2.2000", "+0.2000"]),
        ("manifold-adamw", ["3", "2.4000", "+0.4000"]),
    ]
    assert rows[0][6] == "-0.0484 to +0.4484"  # 0.2 -+ 4.303 * 0.1 / sqrt(3)
    frame = ag.load(directory).evaluations()
    assert len(frame) == 2 * 6 + 1 and set(frame["recipe"]) == {"unquantized", "e2m1"}
    assert (directory / "tables" / "evaluations.csv").read_text().count("e2m1") == 6


@pytest.mark.parametrize("evaluations", [{}, [], "x", {"e2m1": "x"}, {"e2m1": None}, {"e2m1": True}])
def test_without_evaluations_or_with_damaged_ones_there_is_no_table(write: Write, made: Any, evaluations: Any) -> None:
    directory = write([made(evaluations=evaluations)])
    assert "evaluated under" not in write_report(directory).markdown.read_text()
    assert not (directory / "tables" / "evaluations.csv").exists()

"""The committed results: every effect is computed again from the committed pairs, and every pair from the cells."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from altgrad_core.experiments.evidence.statistics import adjusted, bootstrap_interval, permutation_p, student_interval

RESULTS = Path(__file__).parents[2] / "docs" / "results"
STUDIES = sorted(path.parent.parent for path in RESULTS.glob("*/tables/effects.csv"))
PLACE = ("format", "optimizer", "variant")
Row = Mapping[str, str]


def table(study: Path, name: str) -> list[Row]:
    with (study / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def place(row: Row) -> tuple[str, ...]:
    return tuple(row[key] for key in PLACE)


def gains(study: Path) -> dict[tuple[str, ...], list[float]]:
    """By place, the gain of every pair in the order of its seeds."""
    found: dict[tuple[str, ...], list[float]] = {}
    for row in table(study, "pairs"):
        found.setdefault(place(row), []).extend([float(row["gain"])] if row["gain"] else [])
    return found


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_effect_follows_from_the_pairs(study: Path) -> None:
    by_place, rows = gains(study), [row for row in table(study, "effects") if row["metric"] == "loss"]
    assert rows
    for row in rows:
        values = by_place.get(place(row), [])
        assert len(values) == int(row["pairs"])
        interval, student, p = bootstrap_interval(values), student_interval(values), permutation_p(values)
        told = [row["low"], row["high"], row["student_low"], row["student_high"], row["p"]]
        found = [interval and interval.low, interval and interval.high, student and student.low, student and student.high, p]  # fmt: skip
        assert [float(value) if value else None for value in told] == pytest.approx(found, abs=1e-12)
    ps = [float(row["p"]) for row in rows if row["p"]]
    assert [float(row["p_adjusted"]) for row in rows if row["p"]] == pytest.approx(adjusted(ps))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_gain_is_the_difference_of_two_losses(study: Path) -> None:
    pairs = [row for row in table(study, "pairs") if row["gain"]]
    assert pairs and all(float(row["baseline_loss"]) - float(row["loss"]) == float(row["gain"]) for row in pairs)


@pytest.mark.parametrize("study", [s for s in STUDIES if (s / "tables" / "cells.csv").exists()], ids=lambda p: p.name)
def test_every_loss_of_a_pair_is_that_of_a_cell(study: Path) -> None:
    losses = {
        (*place(row), float(row["rate"]), row["seed"]): row["validation_loss"]
        for row in reversed(table(study, "cells"))
        if row["status"] == "finished" and row["role"] == "cell"
    }
    for row in (row for row in table(study, "pairs") if row["gain"]):
        assert losses[(*place(row), float(row["rate"]), row["seed"])] == row["loss"]
        key = (row["format"], row["baseline"], row["variant"], float(row["baseline_rate"]), row["seed"])
        assert losses[key] == row["baseline_loss"]

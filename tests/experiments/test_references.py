"""Simple predictors: their losses are lines in figures and a caution, where they are known and alike in all cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.report.write import write_report

TABLES = {"unigram table": 3.3, "bigram table": 2.03, "trigram table": 1.5}
Page = Callable[..., str]


@pytest.fixture
def page(write: Callable[..., Path], grid_of_cells: Callable[..., Any]) -> Page:
    """The page of a study whose cells end between 1.9 and 2.15, with these reference losses, cell after cell."""

    def make(*tables: Any) -> str:
        directory = write(grid_of_cells({"e4m3": 0.0, "fp32": 0.0}))
        for index, path in enumerate(sorted(directory.glob("*/summary.json"))):
            summary = json.loads(path.read_text())
            summary["data"]["reference_losses"] = tables[index % len(tables)]
            path.write_text(json.dumps(summary))
        return write_report(directory).page.read_text()

    return make


def test_lines_within_a_figure_are_drawn_and_all_are_told(page: Page) -> None:
    found = page(TABLES)
    assert "unigram table 3.3000; bigram table 2.0300; trigram table 1.5000" in found
    assert ">bigram table</text>" in found
    assert ">unigram table</text>" not in found and ">trigram table</text>" not in found, "beyond the figures"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (TABLES, "is above that of a trigram table, 1.5000"),
        ({**TABLES, "bigram table": 1.8}, "is above that of a bigram table, 1.8000"),
        ({"unigram table": 3.3}, None),
        ({}, None),
        ({"bigram table": "low"}, None),
        ("damaged", None),
    ],
)
def test_models_that_a_simple_predictor_beats_are_named(tables: Any, said: str | None, page: Page) -> None:
    found = page(tables)
    assert (said in found) if said else ("models that have learned more" not in found)


def test_cells_on_different_texts_have_no_common_references(page: Page) -> None:
    assert "table 1.5000" not in page(TABLES, {**TABLES, "trigram table": 1.4})

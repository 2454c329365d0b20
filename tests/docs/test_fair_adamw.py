"""What the results say of the search of all settings is what the committed cells give; by hand, what its script computes."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from altgrad_core.experiments.matrix.registration import hash_of
from altgrad_core.manifest.load import load_manifest
from tests.docs.results import RESULTS, script, section_of

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "fair-adamw"
NUMBER = re.compile(r"-?\d\.\d{3,}")
OTHERS = {"0.005", "0.001", "0.999"}  # the margin, and ends of ranges


@pytest.fixture(scope="module")
def analysis() -> ModuleType:
    """The script of the results."""
    return script(FOLDER)


def section() -> str:
    return section_of("fair AdamW")


def tables(analysis: ModuleType) -> str:
    return "\n".join(map(analysis.made, analysis.MARKS))


def test_the_tables_and_numbers_of_the_text_are_those_of_the_script(analysis: ModuleType) -> None:
    text = RESULTS.read_text()
    assert all(mark in section() for mark in analysis.MARKS.values())
    assert analysis.embedded(text) == text
    assert analysis.embedded(text.replace("| AdamW | 2.", "| AdamW | 3.")) == text
    known = {number.lstrip("-") for number in NUMBER.findall(tables(analysis))} | OTHERS
    assert {number.lstrip("-") for number in NUMBER.findall(section())} - known == set()


@pytest.mark.parametrize(
    ("name", "words", "diverged"),
    [
        ("cells", r"its (\d+) runs", 0),
        ("confirmation", r"first of (\d+) further\s+runs", 0),
        ("controls", r"Of these\s+(\d+) runs", 3),
        ("controls-confirmation", r"first of (\d+) runs", 0),
    ],
)
def test_the_number_of_runs_is_that_of_the_cells(name: str, words: str, diverged: int) -> None:
    with (FOLDER / "tables" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(re.search(words, section())[1]) == len(rows)  # type: ignore[index]
    assert [row["status"] for row in rows].count("finished") == len(rows) - diverged


def test_the_committed_contrasts_are_those_of_the_cells(analysis: ModuleType, tmp_path: Path) -> None:
    listed = [c for name in analysis.CONFIRMED for c in analysis.confirmed(name).values()]
    analysis.write(tmp_path / "contrasts.csv", listed)
    assert (tmp_path / "contrasts.csv").read_text() == (FOLDER / "tables" / "contrasts.csv").read_text()


@pytest.mark.parametrize("name", ["fair-adamw-confirmation", "fair-controls-confirmation"])
def test_the_registered_hash_is_that_of_the_manifest(name: str) -> None:
    source = load_manifest(FOLDER.parents[2] / "examples" / f"{name}.toml")
    assert hash_of(SimpleNamespace(source=source)) in section()  # type: ignore[arg-type]


@pytest.mark.parametrize(("search", "confirmation"), [("cells", "confirmation"), ("controls", "controls-confirmation")])
def test_the_confirmed_settings_are_those_that_the_search_found(
    analysis: ModuleType, search: str, confirmation: str
) -> None:
    tried, settings = analysis.searched(search)
    confirmed = analysis.settings_of(FOLDER / "tables" / f"{confirmation}.csv")
    assert {step for step, _ in confirmed} == set(tried)
    for (step, rate), row in confirmed.items():
        assert rate == analysis.best_of(tried[step])
        keys = ("beta1", "beta2", "weight_decay", "warmup", "other_rate")
        assert [float(row[key]) for key in keys] == [float(settings[step, rate][key]) for key in keys]


def test_the_expected_best_of_some_settings(analysis: ModuleType) -> None:
    tried = {0.1: {1: 3.0, 2: 3.0}, 0.2: {1: 1.0, 2: 1.0}, 0.3: {1: 2.0, 2: 2.0}}
    assert analysis.expected_best(tried, 1) == pytest.approx(2.0)
    assert analysis.expected_best(tried, 2) == pytest.approx((1 + 1 + 2) / 3)  # of (3, 1), (1, 2) and (3, 2)
    assert analysis.expected_best(tried, 3) == pytest.approx(1.0)
    tried[0.4] = {1: float("inf"), 2: 5.0}
    assert analysis.expected_best(tried, 1) == float("inf")
    assert analysis.expected_best(tried, 2) == pytest.approx((1 + 1 + 1 + 2 + 2 + 3) / 6)

"""What the results say of rounding after training is what the committed losses give; by hand, what the script computes."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from altgrad_core.experiments.matrix.registration import hash_of
from altgrad_core.manifest.load import load_manifest
from tests.docs.results import RESULTS, script, section_of

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "post-training"
NUMBER = re.compile(r"(?<!\d)-?\d\.\d{3,}")  # no number of an article


@pytest.fixture(scope="module")
def analysis() -> ModuleType:
    """The script of the results."""
    return script(FOLDER)


def section() -> str:
    return section_of("rounding after training")


def test_the_tables_and_numbers_of_the_text_are_those_of_the_script(analysis: ModuleType) -> None:
    text = RESULTS.read_text()
    assert analysis.MARK in section()
    assert analysis.embedded(text) == text
    assert analysis.embedded(text.replace("| e2m1 | 0.", "| e2m1 | 9.")) == text
    known = {number.lstrip("-") for number in NUMBER.findall(analysis.markdown())} | {"0.002", "0.005"}
    assert {number.lstrip("-") for number in NUMBER.findall(section())} - known == set()


def test_the_committed_contrasts_are_those_of_the_losses(analysis: ModuleType, tmp_path: Path) -> None:
    analysis.write(tmp_path / "contrasts.csv", analysis.contrasts())
    assert (tmp_path / "contrasts.csv").read_text() == (FOLDER / "tables" / "contrasts.csv").read_text()


def test_every_cell_has_a_loss_without_rounding_and_under_every_recipe(analysis: ModuleType) -> None:
    with (FOLDER / "tables" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    cells = {row["cell"] for row in rows}
    assert int(re.search(r"its (\d+) runs", section())[1]) == len(cells)  # type: ignore[index]
    assert len(rows) == len(cells) * (1 + len(analysis.RECIPES))


def test_the_registered_hash_is_that_of_the_manifest() -> None:
    source = load_manifest(FOLDER.parents[2] / "examples" / "post-training.toml")
    assert hash_of(SimpleNamespace(source=source)) in section()  # type: ignore[arg-type]


def test_an_exponent_is_that_of_a_power_law(analysis: ModuleType) -> None:
    damage = {("e2m1", steps): {1: 0.01 * steps**0.5, 2: 0.3 * steps**0.25} for steps in (250, 1000, 8000)}
    assert analysis.exponents(damage, "e2m1") == pytest.approx([0.5, 0.25])
    assert analysis.first_fitted(damage, "e2m1") == 250
    damage["e2m1", 250] = {1: 0.0, 2: 7.0}  # zero has no logarithm
    assert analysis.first_fitted(damage, "e2m1") == 1000
    assert analysis.exponents(damage, "e2m1") == pytest.approx([0.5, 0.25])

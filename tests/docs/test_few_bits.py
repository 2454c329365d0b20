"""What the results say of few bits is what the committed cells give."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from altgrad_core.experiments.matrix.registration import hash_of
from altgrad_core.manifest.load import load_manifest
from tests.docs.results import RESULTS, script, section_of

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "few-bits"
NUMBER = re.compile(r"-?\d\.\d{3,}")


@pytest.fixture(scope="module")
def analysis() -> ModuleType:
    """The script of the results."""
    return script(FOLDER)


def section() -> str:
    return section_of("few bits")


def test_the_tables_of_the_text_are_those_of_the_script(analysis: ModuleType) -> None:
    text = RESULTS.read_text()
    assert all(mark in text for mark in analysis.MARKS.values())
    assert analysis.embedded(text) == text
    for name in analysis.MARKS:
        mean = next(iter(analysis.contrasts_of(analysis.TABLES / f"{name}.csv").values())).mean
        assert analysis.embedded(text.replace(f"{mean:.4f}", "0.9999")) != text.replace(f"{mean:.4f}", "0.9999")


def test_every_number_of_the_text_is_computed_from_the_cells(analysis: ModuleType) -> None:
    tables = "\n".join(analysis.markdown(analysis.TABLES / f"{name}.csv") for name in analysis.MARKS)
    known = {number.lstrip("-") for number in NUMBER.findall(tables)} | {"0.005"}
    assert {number.lstrip("-") for number in NUMBER.findall(section())} - known == set()


@pytest.mark.parametrize(
    ("name", "words"), [("cells", r"its (\d+) runs"), ("confirmation", r"first of (\d+) further\s+runs")]
)
def test_the_number_of_runs_is_that_of_the_cells(analysis: ModuleType, name: str, words: str) -> None:
    with (analysis.TABLES / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(re.search(words, section())[1]) == len(rows)  # type: ignore[index]
    assert {row["status"] for row in rows} == {"finished"}


def test_the_registered_hash_is_that_of_the_manifest() -> None:
    manifest = FOLDER.parents[2] / "examples" / "few-bits-confirmation.toml"
    assert hash_of(SimpleNamespace(source=load_manifest(manifest))) in section()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cells", "confirmation"])
def test_the_committed_contrasts_are_those_of_the_cells(analysis: ModuleType, tmp_path: Path, name: str) -> None:
    analysis.write(tmp_path / "contrasts.csv", list(analysis.contrasts_of(analysis.TABLES / f"{name}.csv").values()))
    assert (tmp_path / "contrasts.csv").read_text() == (analysis.TABLES / analysis.CONTRASTS[name]).read_text()

"""What the results say of few bits is what the committed cells give."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "few-bits"
RESULTS = FOLDER.parent / "README.md"
NUMBER = re.compile(r"-?\d\.\d{3,}")


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script of the results."""
    before = set(sys.modules)
    for folder in (FOLDER.parent / "factorial", FOLDER):
        monkeypatch.syspath_prepend(folder)
    yield import_module("analysis")
    for name in {"analysis", "contrasts"} - before:
        sys.modules.pop(name, None)


def section() -> str:
    text = RESULTS.read_text()
    begin = text.index("## few bits")
    return text[begin : text.index("\n## ", begin)]


def test_the_tables_of_the_text_are_those_of_the_script(analysis: ModuleType) -> None:
    text = RESULTS.read_text()
    assert analysis.MARK in text
    assert analysis.embedded(text) == text
    mean = next(iter(analysis.contrasts_of(analysis.TABLES / "cells.csv").values())).mean
    assert analysis.embedded(text.replace(f"{mean:.4f}", "0.9999")) != text.replace(f"{mean:.4f}", "0.9999")


def test_every_number_of_the_text_is_computed_from_the_cells(analysis: ModuleType) -> None:
    tables = analysis.markdown(analysis.TABLES / "cells.csv")
    known = {number.lstrip("-") for number in NUMBER.findall(tables)} | {"0.005"}
    assert {number.lstrip("-") for number in NUMBER.findall(section())} - known == set()


def test_the_number_of_runs_is_that_of_the_cells(analysis: ModuleType) -> None:
    with (analysis.TABLES / "cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(re.search(r"its (\d+) runs", section())[1]) == len(rows)  # type: ignore[index]
    assert {row["status"] for row in rows} == {"finished"}


def test_the_committed_contrasts_are_those_of_the_cells(analysis: ModuleType, tmp_path: Path) -> None:
    analysis.write(tmp_path / "contrasts.csv", list(analysis.contrasts_of(analysis.TABLES / "cells.csv").values()))
    assert (tmp_path / "contrasts.csv").read_text() == (analysis.TABLES / "contrasts.csv").read_text()

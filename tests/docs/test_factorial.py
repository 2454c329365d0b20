"""What the documents say of the factorial is what its committed tables give; by hand, what its script computes."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from math import log
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "results" / "factorial"
NUMBER = re.compile(r"-?\d\.\d{3,}")
OTHERS = {"0.005", "0.001", "0.00178"}  # the margin, and rates


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script of docs/results by name."""
    before = set(sys.modules)
    for folder in (FOLDER, FOLDER.parent):
        monkeypatch.syspath_prepend(folder)
    yield import_module
    for name in {"contrasts", "collect", "ngrams"} - before:
        sys.modules.pop(name, None)


def section(document: str, begin: str, end: str) -> str:
    """The part of a document from one mark up to another."""
    text = (ROOT / document).read_text()
    return text[text.index(begin) : text.index(end, text.index(begin) + 1)]


TEXTS = {
    "the answer": ("README.md", "**An answer, so far", "![Gain"),
    "the study": ("docs/results/README.md", "## factorial", "## few bits"),
    "the head of the results": ("docs/results/README.md", "# Results", "## factorial"),
    "the note on optimizers": ("docs/optimizers.md", "> **Corrected.**", "\n\n"),
}


@pytest.mark.parametrize("which", TEXTS)
def test_every_number_of_the_text_is_computed_from_the_tables(which: str, scripts: Callable[[str], ModuleType]) -> None:
    contrasts = scripts("contrasts")
    tables = "\n".join(contrasts.markdown(table) for table in contrasts.CELLS.values() if table.exists())
    tables += contrasts.sensitivity(contrasts.CELLS[250])
    with (FOLDER / "tables" / "ngrams.csv").open() as file:
        floors = {f"{float(row['loss']):.3f}" for row in csv.DictReader(file)}
    few: set[str] = set()
    for name in (
        "few-bits/tables/contrasts",
        "few-bits/tables/confirmation-contrasts",
        "fair-adamw/tables/contrasts",
        "growth/tables/contrasts",
        "relative/tables/contrasts",
    ):
        with (FOLDER.parent / f"{name}.csv").open() as file:
            found = {f"{float(row[key]):.4f}" for row in csv.DictReader(file) for key in ("mean", "low", "high")}
        few |= found | {number.lstrip("-") for number in found}  # so much below is told as so much above
    known = {*NUMBER.findall(tables), *floors, *OTHERS, *(few if which == "the answer" else ())}
    assert set(NUMBER.findall(section(*TEXTS[which]))) - known == set()


def test_the_numbers_of_runs_are_those_of_the_tables(scripts: Callable[[str], ModuleType]) -> None:
    contrasts, text = scripts("contrasts"), section(*TEXTS["the study"])
    coarse, finer, longer = (
        int(re.search(rf"(\d+)\s+{words}", text)[1]) for words in ("runs, none", "more runs", "runs, \\[cells")
    )  # type: ignore[index]
    rates = [float(row["rate"]) for row in csv.DictReader(contrasts.CELLS[250].open())]
    assert sum(rate in contrasts.COARSE for rate in rates) == coarse
    assert len(rates) == coarse + finer
    assert len(contrasts.CELLS[1000].read_text().splitlines()) - 1 == longer


def test_the_tables_of_the_text_are_those_of_the_script(scripts: Callable[[str], ModuleType]) -> None:
    contrasts, text = scripts("contrasts"), (FOLDER.parent / "README.md").read_text()
    assert "<!-- 250 steps, by contrasts.py -->" in text
    assert contrasts.embedded(text) == text


def test_a_number_that_the_tables_do_not_give_is_noticed(scripts: Callable[[str], ModuleType]) -> None:
    contrasts, text = scripts("contrasts"), (FOLDER.parent / "README.md").read_text()
    mean = contrasts.contrasts(contrasts.CELLS[250])[0].mean
    assert contrasts.embedded(text.replace(f"{mean:.4f}", "0.9999")) != text.replace(f"{mean:.4f}", "0.9999")


def test_the_committed_contrasts_are_those_of_the_cells(scripts: Callable[[str], ModuleType], tmp_path: Path) -> None:
    contrasts = scripts("contrasts")
    for table in filter(Path.exists, contrasts.CELLS.values()):
        contrasts.write(tmp_path / "contrasts.csv", contrasts.contrasts(table))
        assert (tmp_path / "contrasts.csv").read_text() == table.with_name("contrasts.csv").read_text()


def test_a_contrast_is_that_of_a_table_of_students_t(scripts: Callable[[str], ModuleType]) -> None:
    found = scripts("contrasts").contrast("x", [1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5  # t of 2 degrees of freedom, and a standard error of 1 / sqrt(3)
    assert (found.pairs, found.mean, found.p) == (3, 2.0, 0.25)  # 2 of the 8 changes of signs are as far out
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)
    assert not found.is_within


def test_contrasts_close_to_zero_are_within_the_margin(scripts: Callable[[str], ModuleType]) -> None:
    contrast = scripts("contrasts").contrast
    assert contrast("x", [0.001, -0.001, 0.0005, -0.0005]).is_within
    assert not contrast("x", [0.0049, 0.0051, 0.0049, 0.0051]).is_within  # none differs, but the end is outside


def test_a_seed_is_judged_at_the_rate_that_the_others_choose(scripts: Callable[[str], ModuleType]) -> None:
    slow, fast = {1: 1.0, 2: 3.0, 3: 3.0}, {1: 9.0, 2: 2.0, 3: 2.0}
    rates = {0.1: slow, 0.2: fast, 0.3: {1: 0.0}}  # the last was tried with one seed alone
    assert scripts("contrasts").chosen(rates) == {1: 9.0, 2: 3.0, 3: 3.0}
    assert scripts("contrasts").chosen(rates, pooled=True) == slow  # 7 in all, and the other 13


def test_an_ngram_is_interpolated_with_the_shorter_one(scripts: Callable[[str], ModuleType]) -> None:
    model = scripts("ngrams").NGrams([0, 1, 0, 1, 0, 2], 2, 4)
    of_1 = (2 + 3 / 4) / (6 + 3)  # 2 of 6, and 3 different ones that stand for a uniform 1/4
    assert model.probability(1, ()) == pytest.approx(of_1)
    assert model.probability(1, (2, 0)) == pytest.approx((2 + 2 * of_1) / (3 + 2))  # 2 of 3 after 0, 2 different ones
    assert model.probability(1, (3,)) == pytest.approx(of_1)  # nothing was seen after 3
    assert model.loss([([0], [1])]) == pytest.approx(-log((2 + 2 * of_1) / 5))
    assert sum(model.probability(token, (0,)) for token in range(4)) == pytest.approx(1)


def test_steps_are_named_by_their_line_and_their_spacing(scripts: Callable[[str], ModuleType]) -> None:
    step_of = scripts("collect").step_of
    walk = {"use": "manifold-adamw", "spacing": "own"}
    assert step_of({"use": "adamw"}) == "AdamW"
    assert step_of(walk) == "own line"
    assert step_of({**walk, "geometry": "e4m3"}) == "E4M3 line"
    assert step_of({**walk, "geometry": "e4m3", "spacing": "rms"}) == "RMS"

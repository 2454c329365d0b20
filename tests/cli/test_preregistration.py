"""A confirmatory study declares its hypothesis before it is trained, and its report says so before the results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import altgrad_core as ag
from altgrad_core.experiments.report.write import write_report
from tests.conftest import TINY, trained_here

if TYPE_CHECKING:
    from tests.conftest import Said

CONFIRMS = '\n[matrix.confirms]\nhypothesis = "seed 1 <b>ends</b> lower"\nanalysis = "the difference of two losses"\n'


def manifest_in(folder: Path, *, margin: float | None = 0.01, confirms: bool = True) -> Path:
    path = folder / "study.toml"
    told = "" if margin is None else f"margin = {margin}\n"
    matrix = f'[matrix]\n"run.seed" = [1, 2]\n{told}{CONFIRMS if confirms else ""}'
    path.write_text(TINY.replace('name = "tiny"\n', "").replace("steps = 6", "steps = 1") + matrix)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preregistered")
    with trained_here():
        ag.study(manifest_in(folder), out=folder / "study")
    return folder / "study"


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "study"))


@pytest.fixture(autouse=True)
def no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altgrad_core.cli.matrix.print_estimate", lambda matrix: None)


def registered(study: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((study / "registration.json").read_text())["registrations"]
    return found


def report_of(study: Path) -> str:
    return write_report(study).page.read_text()


def test_what_was_declared_stands_before_the_results_with_its_date_and_hash(
    study: Path, altgrad: Callable[..., Said], tmp_path: Path
) -> None:
    (entry,) = registered(study)
    assert entry["ended"] == 0 and entry["margin"] == 0.01
    checked = altgrad("check", manifest_in(tmp_path)).out
    assert "confirmatory: seed 1 <b>ends</b> lower" in checked and entry["sha256"] in checked
    page = report_of(study)
    assert f"preregistered on {entry['date']} by the clock of the machine, before any cell had ended" in page
    assert entry["sha256"] in page and "seed 1 &lt;b&gt;ends&lt;/b&gt; lower" in page
    assert page.index("preregistered on") < page.index("<table")


def test_a_change_after_results_is_registered_beside_what_was_first(study: Path, tmp_path: Path) -> None:
    ag.study(manifest_in(tmp_path), out=study, set=["run.device=cpu"])
    assert len(registered(study)) == 1, "no number changed"
    ag.study(manifest_in(tmp_path, margin=0.5), out=study)
    first, last = registered(study)
    assert (first["margin"], last["margin"], last["ended"]) == (0.01, 0.5, 2)
    page = report_of(study)
    assert "The manifest was changed after 2 cells had ended" in page and first["sha256"] in page


@pytest.mark.parametrize("content", [None, "{", '{"registrations": [{"date": 1}]}'])
def test_a_lost_or_damaged_declaration_is_said(content: str | None, study: Path) -> None:
    file = study / "registration.json"
    file.unlink() if content is None else file.write_text(content)
    assert "when the hypothesis was declared is not known" in report_of(study)


def test_a_hypothesis_needs_a_margin(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    said = altgrad("check", manifest_in(tmp_path, margin=None))
    assert said.code == 2 and "confirms declares a hypothesis without a margin; set margin" in said.err


def test_without_a_declaration_a_study_is_exploratory(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    assert (
        "exploratory: it declares no hypothesis (matrix.confirms)"
        in altgrad("check", manifest_in(tmp_path, confirms=False)).out
    )

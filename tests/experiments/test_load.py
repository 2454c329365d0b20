"""`load`: a run or a study as tidy frames and figures."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import altgrad_core as ag
from altgrad_core.experiments.load import RunResult, StudyResult

pytest.importorskip("pandas")


@pytest.fixture
def study(write: Callable[..., Path], grid_of_cells: Any) -> StudyResult:
    """Two formats, two optimizers, three rates, three seeds."""
    found = ag.load(write(grid_of_cells({"e4m3": 0.1, "e5m2": 0.04}, seeds=(1, 2, 3), noise=0.0)))
    assert isinstance(found, StudyResult)
    return found


def test_cells_are_one_row_each(study: StudyResult) -> None:
    cells = study.cells
    assert len(cells) == 2 * 2 * 3 * 3
    assert set(cells["status"]) == {"finished"}
    best = cells[(cells["format"] == "e4m3") & (cells["rate"] == 0.1)].groupby("optimizer")["validation_loss"].mean()
    assert best["adamw"] - best["manifold-adamw"] == pytest.approx(0.1)


def test_effects_and_contrasts_are_those_of_the_report(study: StudyResult) -> None:
    effects = study.effects().set_index("format")
    assert list(effects["mean"]) == pytest.approx([0.1, 0.04]) and list(effects["pairs"]) == [3, 3]
    (contrast,) = study.contrasts().to_dict("records")
    assert (contrast["format"], contrast["other_format"], contrast["mean"]) == ("e4m3", "e5m2", pytest.approx(0.06))


def test_losses_are_one_row_for_each_step_and_evaluation(study: StudyResult) -> None:
    losses = study.losses()
    cell = losses[losses["cell"] == losses["cell"].iloc[0]]
    assert list(cell["phase"]) == ["train"] * 4 + ["validation"]
    assert list(cell["step"]) == [1, 2, 3, 4, 4]


def test_readings_are_one_row_for_each_value(write: Callable[..., Path], made: Any) -> None:
    readings = {"stall-ratio": {"a": 0.1, "b": float("nan")}, "flip-rate": {"a": 0.5}}
    found = ag.load(write([made(readings=readings), made(seed=2, readings=readings)]))
    stalls = found.readings("stall-ratio")
    assert list(stalls["layer"]) == ["a", "b", "a", "b"] and list(stalls["seed"]) == [1, 1, 2, 2]
    assert stalls["value"].isna().sum() == 2
    assert set(found.readings()["reading"]) == {"stall-ratio", "flip-rate"}
    with pytest.raises(ag.RunError, match='has a reading "stal-ratio"; did you mean "stall-ratio"'):
        found.readings("stal-ratio")


def test_a_single_run_has_its_status_and_its_loss(write: Callable[..., Path], made: Any) -> None:
    directory = write([made()]) / made().name
    run = ag.load(str(directory))
    assert isinstance(run, RunResult)
    assert (run.status, run.validation_loss, run.manifest["run"]["steps"]) == ("finished", 2.0, 4)
    assert len(run.losses()) == 5
    with pytest.raises(ag.ManifestError, match=r"no pair of runs has ended, so there is no effect to draw$"):
        run.plot.forest()


def test_figures_are_figures_of_matplotlib(study: StudyResult) -> None:
    for figure in (study.plot.forest(), study.plot.curves()):
        image = io.BytesIO()
        figure.savefig(image, format="png")
        assert len(image.getvalue()) > 5000
    titles = [axes.get_title("left") for axes in study.plot.curves().get_axes()]
    assert titles[:2] == ["e4m3", "e5m2"]


def test_a_study_says_in_short_what_it_is(study: StudyResult) -> None:
    assert repr(study) == "<StudyResult study: 36 of 36 ended; manifold-adamw beats adamw in e4m3 and e5m2 (3 seeds)>"
    page = study._repr_html_()
    assert page.startswith("<p><strong>manifold-adamw beats adamw in e4m3 and e5m2 (3 seeds)</strong>")
    assert page.count("<tr>") == 1 + 4 and "<td>manifold-adamw</td>" in page
    (picture,) = re.findall('<img src="data:image/png;base64,([^"]*)"', page)
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_a_run_without_losses_is_a_heading_alone(write: Callable[..., Path], made: Any) -> None:
    directory = write([made(optimizer="<b>x")]) / made(optimizer="<b>x").name
    (directory / "records.jsonl").write_text("")
    (directory / "summary.json").unlink()
    page = ag.load(directory)._repr_html_()
    assert page.startswith("<p><strong>") and "<img" not in page and "<b>" not in page


def test_without_pandas_frames_say_what_to_install(study: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ag.PluginError) as caught:
        study.losses()
    assert str(caught.value) == 'frames need pandas, which is not installed; pip install "altgrad[pandas]"'


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ag.ManifestError, match=f"^{tmp_path}: is neither a study nor a run"):
        ag.load(tmp_path)

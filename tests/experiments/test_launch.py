"""Training from Python, and what loaded results, formats and plans show in a notebook."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import altgrad_core as ag
from tests.conftest import TINY


def tables(**more: Any) -> dict[str, Any]:
    told = {key: table for key, table in tomllib.loads(TINY).items() if key not in ("monitor", "intervention")}
    return {**told, "recipe": [{"layers": "blocks.*", "weight": "e4m3"}], **more}


def test_a_run_from_tables_is_the_run_of_the_file(tmp_path: Path) -> None:
    from_tables = ag.run(tables(), out=tmp_path / "tables", set=["run.steps=2"])
    path = tmp_path / "run.toml"
    path.write_text((tmp_path / "tables/manifest.toml").read_text())
    from_file = ag.run(path, out=tmp_path / "file")
    assert (from_tables.status, from_tables.manifest["recipe"][0]["weight"]["format"]) == ("finished", "e4m3")
    assert (tmp_path / "file/records.jsonl").read_bytes() == (tmp_path / "tables/records.jsonl").read_bytes()
    assert from_file.validation_loss == from_tables.validation_loss
    figure = from_tables.plot.numberline("e4m3")
    assert figure.axes[0].get_title(loc="left") == "e4m3"
    with pytest.raises(ag.ManifestError, match="no run has a checkpoint with weights in e5m2; give some: numberline"):
        from_tables.plot.numberline("e5m2")
    given = from_tables.plot.numberline("e2m1", weights=torch.tensor([-1.0, 0.5, float("nan"), 2.0]))
    assert given.axes[1].get_xlim()[1] >= 6.0


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ag.ManifestError, match=r"manifest: has a \[matrix\]; altgrad_core.study trains every cell"):
        ag.run(tables(matrix={"run.seed": [1, 2]}), out=tmp_path)
    with pytest.raises(ag.ManifestError, match=r"manifest: has no \[matrix\]; altgrad_core.run trains a single run"):
        ag.study(tables(), out=tmp_path)
    with pytest.raises(ag.ManifestError, match=r"manifest: run\.steps: a PosixPath"):
        ag.run(tables(run={"name": "a", "steps": Path("a")}), out=tmp_path)


@pytest.mark.slow
def test_a_study_from_tables_has_a_row_for_each_cell(tmp_path: Path) -> None:
    study = ag.study(tables(matrix={"recipe[0].weight.format": ["e4m3", "e5m2"]}), out=tmp_path, set=["run.steps=2"])
    assert list(study.cells["format"]) == ["e4m3", "e5m2"]


def test_formats_plans_and_grids_show_themselves() -> None:
    page = ag.load_format("e4m3")._repr_html_()
    assert page.count(" 4V26") == 253 and "<th>largest</th><td>448</td>" in page
    assert "<svg" not in ag.load_format("fp32")._repr_html_()
    assert repr(ag.load_format("e4m3").grid) == "<grid of 253 values from -448 to 448>"
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    plan = ag.quantize_model(model, [ag.Rule(layers="0", weight=ag.Quantizer("e4m3"))])
    assert "<td>1</td><td>no rule selects it</td><td>8</td>" in plan._repr_html_()

"""Cells that `cells.json` tells of are resolved anew only where something has changed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.matrix import cell, cells
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.known import known_in, matrix_in
from altgrad_core.experiments.matrix.plan import as_json, plan_of
from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.registry import Registry, installed
from altgrad_core.results.ending import Ending
from tests.conftest import TINY

SEEDS = "[matrix]\nrun.seed = [1, 2, 3]\n'recipe[0].weight.format' = ['e4m3', 'e5m2']\n"
RATES = "[matrix]\nrun.seed = [1, 2]\n[matrix.search]\nkey = 'optimizer.lr'\nfactors = [0.5, 1, 2]\nkeep = 1\n"
SAMPLES = "[matrix]\nrun.seed = [1, 2]\n[matrix.search]\nsamples = 3\nkeep = 1\n[matrix.search.ranges]\n" + (
    "'optimizer.lr' = { times = [0.3, 3.0] }\n'optimizer.beta1' = { linear = [0.0, 0.2] }\n"
)


class Ended(dict[str, Ending]):
    """Every cell that is asked for has ended, with a loss that its name decides."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Ending:
        return Ending("finished", 2.0 + sum(name.encode()) % 100 / 100)


@pytest.fixture
def planned(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the manifest and the plan of a study in which every cell has ended."""

    def plan(text: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(TINY.replace('name = "tiny"\n', "").replace("seed = 3\n", "") + text)
        matrix = Matrix(load_manifest(path), installed(), most=100)
        (tmp_path / "cells.json").write_text(as_json(plan_of(matrix, matrix.cells(Ended()))))
        return path

    return plan


def not_now(*_: object) -> Any:
    raise AssertionError("a manifest was resolved")


@pytest.mark.parametrize("text", [SEEDS, RATES, SAMPLES], ids=["seeds", "rates", "samples"])
def test_known_cells_are_the_same_and_their_plan_too(planned: Callable[[str], Path], text: str) -> None:
    path = planned(text)
    known = matrix_in(path.parent, load_manifest(path), installed(), most=100)
    assert len(known.known) == len(known.cells(Ended()))
    afresh = Matrix(load_manifest(path), installed(), most=100)
    assert known.cells(Ended()) == afresh.cells(Ended())
    assert [c.resolved.manifest for c in known.cells(Ended())] == [c.resolved.manifest for c in afresh.cells(Ended())]
    assert as_json(plan_of(known, known.cells(Ended()))) == (path.parent / "cells.json").read_text()


def test_known_cells_are_not_resolved(planned: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = planned(SEEDS)
    monkeypatch.setattr(cell, "resolve", not_now)
    monkeypatch.setattr(cells, "resolve", not_now)
    assert len(matrix_in(path.parent, load_manifest(path), installed(), most=100).cells({})) == 6


@pytest.mark.parametrize("setting", ["run.steps=7", "matrix.run.seed=[1,2]", "run.device='cpu'"])
def test_a_setting_makes_the_plan_one_of_another_study(planned: Callable[[str], Path], setting: str) -> None:
    path = planned(SEEDS)
    assert known_in(path.parent, load_manifest(path), installed())
    assert not known_in(path.parent, load_manifest(path, [setting]), installed())


def test_another_version_of_any_plugin_makes_the_plan_outdated(planned: Callable[[str], Path]) -> None:
    path = planned(SEEDS)
    first, *others = installed().plugins
    newer = Registry([replace(first, version="999"), *others])
    assert not known_in(path.parent, load_manifest(path), newer)


def test_other_code_of_the_same_version_makes_the_plan_outdated(
    planned: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, code = planned(SEEDS), tmp_path / "edited_plugin.py"
    code.write_text("DEFAULT = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("edited_plugin")
    first, *_ = installed().plugins
    plugin = replace(first, name="edited", distribution="edited", offers=(), package="edited_plugin")
    registry = Registry([*installed().plugins, plugin])
    matrix = Matrix(load_manifest(path), registry, most=100)
    (tmp_path / "cells.json").write_text(as_json(plan_of(matrix, matrix.cells({}))))
    assert known_in(tmp_path, load_manifest(path), registry)
    code.write_text("DEFAULT = 2\n")
    assert not known_in(tmp_path, load_manifest(path), registry)


def test_what_a_manifest_imports_has_no_version_and_is_resolved_each_time(planned: Callable[[str], Path]) -> None:
    path = planned("".join(SEEDS))
    path.write_text(path.read_text().replace('"manifold-adamw"', '"torch.optim:NAdam"'))
    matrix = Matrix(load_manifest(path), installed(), most=100)
    (path.parent / "cells.json").write_text(as_json(plan_of(matrix, matrix.cells({}))))
    assert not known_in(path.parent, load_manifest(path), installed())


def damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def damage(text: str) -> str:
        plan = json.loads(text)
        change(plan["cells"][0])
        return json.dumps(plan)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        damaged(lambda cell: cell.pop("key")),
        damaged(lambda cell: cell.update(identity="../../elsewhere")),
        damaged(lambda cell: cell.update(manifest={"run": {"steps": 0}})),
    ],
)
def test_a_damaged_plan_is_not_used(planned: Callable[[str], Path], damage: Callable[[str], str]) -> None:
    path = planned(SEEDS)
    plan = path.parent / "cells.json"
    plan.write_text(damage(plan.read_text()))
    assert not known_in(path.parent, load_manifest(path), installed())


def test_a_name_in_a_plan_leads_nowhere(planned: Callable[[str], Path]) -> None:
    path = planned(SEEDS)
    plan = path.parent / "cells.json"
    names = [cell.name for cell in Matrix(load_manifest(path), installed(), most=100).cells({})]
    plan.write_text(damaged(lambda cell: cell.update(name="../../elsewhere", point={}))(plan.read_text()))
    found = matrix_in(path.parent, load_manifest(path), installed(), most=100)
    assert found.known
    assert [cell.name for cell in found.cells({})] == names

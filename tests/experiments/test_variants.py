"""Variants under the names that the matrix gives them, and cells that are planned with their manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.controls import contrast_sentences
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.variants import named

Write = Callable[..., Path]


def with_points(directory: Path, change: Callable[[int, dict[str, Any]], None]) -> Path:
    """The study with every entry of its cells.json changed."""
    plan = json.loads((directory / "cells.json").read_text())
    for number, cell in enumerate(plan["cells"]):
        change(number, cell)
    (directory / "cells.json").write_text(json.dumps(plan))
    return directory


def test_a_name_stands_for_what_it_sets_also_in_cells_without_it() -> None:
    places = [("e4m3", "layers=a"), ("e4m3", "layers=b"), ("e4m3", "layers=a"), ("fp32", "")]
    points = [{"variant": "plain"}, {"variant": "headed"}, {}, {"variant": "plain"}]
    assert named(places, points) == {"layers=a": "plain", "layers=b": "headed"}


def test_what_varies_within_a_name_stays_beside_it() -> None:
    places = [("e4m3", f"layers={layers}, data.batch_size={size}") for layers in "ab" for size in (4, 8)]
    points = [{"variant": name} for name in ("plain", "plain", "headed", "headed")]
    assert list(named(places, points).values()) == [
        "plain, data.batch_size=4", "plain, data.batch_size=8", "headed, data.batch_size=4", "headed, data.batch_size=8",
    ]  # fmt: skip


def test_names_that_do_not_tell_apart_what_differs_are_not_used() -> None:
    assert named([("e4m3", "a=1"), ("e4m3", "b=2")], [{"variant": "x"}, {"variant": "x"}]) == {}
    assert named([("e4m3", "a=1"), ("e4m3", "a=1")], [{"variant": "x"}, {"variant": "y"}]) == {}
    assert named([("e4m3", "a=1")], [{"variant": 3}]) == {}


def test_a_control_of_named_variants_says_what_they_set(write: Write, made: Any) -> None:
    kinds = {"near": "nearest-even", "chance": "stochastic"}
    cells = [made(seed=s, loss=2.0 + s, quantizer={"rounding": kind}) for kind in kinds.values() for s in (1, 2, 3)]
    names = [name for name in kinds for _ in range(3)]
    study = Study.read(with_points(write(cells), lambda i, cell: cell["point"].update(variant=names[i])))
    assert [result.variant for result in study.results] == names
    assert study.variants == {"near": "rounding=nearest-even", "chance": "rounding=stochastic"}
    assert contrast_sentences(Analysis(study).contrasts, "nats per token")[0].startswith(
        "Rounding, stochastic against nearest-even: "
    )


def test_a_planned_cell_is_what_its_manifest_in_the_plan_says(write: Write, made: Any) -> None:
    ran = [made(seed=seed, quantizer={"rounding": "nearest-even"}) for seed in (1, 2)]
    planned = [made(seed=seed, quantizer={"rounding": "stochastic"}, status="missing") for seed in (1, 2)]

    def tell(number: int, cell: dict[str, Any]) -> None:
        cell["point"]["variant"] = "near" if number < 2 else "chance"

    study = Study.read(with_points(write([*ran, *planned]), tell))
    assert [(r.variant, r.status) for r in study.results] == [
        ("near", "finished"), ("near", "finished"), ("chance", "missing"), ("chance", "missing"),
    ]  # fmt: skip
    assert study.problems == ()


def test_of_cells_that_are_only_planned_none_is_called_a_double(write: Write, made: Any) -> None:
    cells = [made(), made(set={"run.threads": 2}, status="missing"), made(set={"run.threads": 3}, status="missing")]
    assert Study.read(write(cells)).problems == ()
    told = with_points(write(cells, place="strange"), lambda _, cell: cell.update(manifest={"recipe": 3}))
    assert Study.read(told).problems == ()

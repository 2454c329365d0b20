"""Reading a study: labels, statuses, and everything that can be wrong with the files."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core import ManifestError
from altgrad_core.experiments.study.labels import labels_of
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.subjects import flatten
from altgrad_core.results.lines import RecordReader
from tests.experiments.made_up import resolved
from tests.tiny_tables import TINY_GPT

if TYPE_CHECKING:
    from tests.conftest import Said

MANIFEST = f"""
[run]
name = "cell"
seed = 1
steps = 4
checkpoint_every = 20
evaluate_every = 10
{TINY_GPT}[data]
use = "synthetic"
batch_size = 4
[optimizer]
use = "manifold-adamw"
lr = 0.1
[[recipe]]
layers = "*"
weight = {{ format = "e4m3" }}
activation = {{ format = "e4m3" }}
gradient = {{ format = "e4m3" }}
[[monitor]]
use = "flips"
every = 2
[[monitor]]
use = "stable-rank"
every = 10
[[intervention]]
use = "stop-on-nonfinite"
"""


def shape(value: Any) -> Any:
    """The keys of plain data, all the way down; of a list, those of its members."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else None


def kinds(path: Path) -> dict[str, Any]:
    """By kind of record, its keys."""
    return {record["kind"]: sorted(record) for record in RecordReader(path)}


def test_a_made_up_cell_has_the_files_and_the_keys_of_a_real_one(
    altgrad: Callable[..., Said], tmp_path: Path, write: Callable[..., Path], made: Any
) -> None:
    (tmp_path / "m.toml").write_text(MANIFEST)
    for name, extra in (("ok", ()), ("bad", ("--set", "optimizer.lr=1e9"))):
        assert altgrad("run", tmp_path / "m.toml", "--out", tmp_path / "real" / name, *extra).code in (0, 4)
    readings = dict.fromkeys(("flips", "updates", "flip-rate", "stall-ratio"), 0.5)
    cells = [made(optimizer="manifold-adamw", readings=readings), made(optimizer="manifold-adamw", seed=2, loss=None)]
    directory = write(cells)
    for name, cell in zip(("ok", "bad"), cells, strict=True):
        real, fake = tmp_path / "real" / name, directory / cell.name
        resolved = [tomllib.loads((place / "resolved.toml").read_text()) for place in (real, fake)]
        resolved[0]["monitor"][0]["every"] = 10
        resolved[0]["run"]["seed"], resolved[0]["optimizer"]["lr"] = cell.seed, cell.rate
        assert resolved[0] == resolved[1]
        for file in ("summary.json", "env.json"):
            assert shape(json.loads((real / file).read_text())) == shape(json.loads((fake / file).read_text()))
        kept = kinds(real / "records.jsonl")
        assert kinds(fake / "records.jsonl") == {kind: kept[kind] for kind in kinds(fake / "records.jsonl")}
    failure = [json.loads((p / "failure.json").read_text()) for p in (tmp_path / "real" / "bad", fake)]
    assert sorted(failure[0]) == sorted(failure[1])
    assert sorted(failure[0]["broke"]) == sorted(failure[1]["broke"])
    study = Study.read(tmp_path / "real")
    assert [(r.name, r.status, r.format, r.rate) for r in study.results] == [
        ("bad", "diverged", "e4m3", 1e9),
        ("ok", "finished", "e4m3", 0.1),
    ]
    assert study.problems == ()


def test_a_run_directory_is_a_study_of_one_cell(write: Callable[..., Path], made: Any) -> None:
    directory = write([made(loss=2.5)])
    study = Study.read(directory / made().name)
    (result,) = study.results
    assert (result.format, result.optimizer, result.rate, result.seed, result.variant) == ("e4m3", "adamw", 0.1, 1, "")
    assert (result.status, result.validation_loss, study.baseline) == ("finished", 2.5, "adamw")
    assert [record["kind"] for record in result.records()][::5] == ["began", "evaluation"]


def test_what_varies_becomes_labels(study: Callable[..., Study], made: Any) -> None:
    found = study(
        [
            made("e4m3", "adamw", 0.1, 1),
            made("e5m2", "manifold-adamw", 0.2, 2, options={"precondition": "off"}),
            made(None, "manifold-adamw", 0.2, 3),
            made("bf16", "adamw", 0.1, 1, quantizer={"rounding": "stochastic"}),
            made("e4m3", "adamw", 0.1, 1, set={"data.batch_size": 8}),
        ]
    )
    assert [(r.format, r.optimizer, r.rate, r.seed, r.variant) for r in found.results] == [
        ("e4m3", "adamw", 0.1, 1, "rounding=nearest-even, data.batch_size=4"),
        ("e5m2", "manifold-adamw (precondition=off)", 0.2, 2, "rounding=nearest-even, data.batch_size=4"),
        ("fp32", "manifold-adamw", 0.2, 3, "data.batch_size=4"),
        ("bf16", "adamw", 0.1, 1, "rounding=stochastic, data.batch_size=4"),
        ("e4m3", "adamw", 0.1, 1, "rounding=nearest-even, data.batch_size=8"),
    ]
    assert (found.formats(), found.seeds()) == (("e4m3", "e5m2", "fp32", "bf16"), (1, 2, 3))
    assert found.optimizers() == (
        "adamw", "manifold-adamw (precondition=off)", "manifold-adamw",
    )  # fmt: skip


def test_a_rule_for_some_layers_is_told_in_the_format(study: Callable[..., Study], made: Any) -> None:
    head = {"layers": "lm_head", "weight": {"format": "e5m2"}}
    found = study([made("e4m3"), made("e4m3", more_rules=[head])])
    assert found.formats() == ("e4m3", "e4m3 (lm_head=e5m2)")


def test_roles_are_told_apart_where_the_weight_alone_does_not(write: Callable[..., Path], made: Any) -> None:
    directory = write([made("e4m3"), made("e4m3", seed=2), made("e5m2")])
    path = directory / made("e4m3", seed=2).name / "resolved.toml"
    text = path.read_text()
    path.write_text(text.replace('[recipe.gradient]\nformat = "e4m3"', '[recipe.gradient]\nformat = "e5m2"'))
    assert Study.read(directory).formats() == ("e4m3/e4m3/e4m3", "e4m3/e4m3/e5m2", "e5m2/e5m2/e5m2")


def test_a_format_given_by_its_facts_has_a_name(write: Callable[..., Path], made: Any) -> None:
    directory = write([made("e4m3"), made("e5m2")])
    path = directory / made("e5m2").name / "resolved.toml"
    path.write_text(path.read_text().replace('format = "e5m2"', "format = {exponent_bits = 3, mantissa_bits = 4}"))
    assert Study.read(directory).formats() == ("e4m3", "e3m4b3-finite")


def test_an_option_that_moves_with_the_rate_is_part_of_the_rate(study: Callable[..., Study], made: Any) -> None:
    tied = [made(rate=rate, options={"weight_decay": rate / 10}) for rate in (0.1, 0.2, 0.4)]
    assert study(tied).optimizers() == ("adamw",)


def test_an_option_crossed_with_the_rate_is_told(write: Callable[..., Path], made: Any) -> None:
    crossed = [made(rate=rate, options={"weight_decay": decay}) for rate in (0.1, 0.2) for decay in (0.0, 0.5)]
    assert Study.read(write(crossed)).optimizers() == ("adamw (weight_decay=0)", "adamw (weight_decay=0.5)")


def test_threads_names_trackers_and_monitors_make_no_variant(study: Callable[..., Study], made: Any) -> None:
    cells = [made(), made(set={"run.threads": 2, "run.name": "x", "run.checkpoint_every": 7, "run.device": "cpu"})]
    assert [result.variant for result in study(cells).results] == ["", ""]


def test_every_way_to_end_is_a_status(write: Callable[..., Path], made: Any) -> None:
    names = ["finished", "stopped", "crashed", "unfinished", "missing"]
    directory = write([*(made(seed=i, status=name) for i, name in enumerate(names)), made(seed=9, loss=None)])
    found = Study.read(directory)
    assert [result.status for result in found.results] == [*names, "diverged"]
    assert [result.validation_loss for result in found.results] == [2.0, None, None, None, None, None]
    assert found.results[2].reason == "RuntimeError: boom"
    assert found.problems == ()


def test_a_missing_cell_is_what_the_plan_says(study: Callable[..., Study], made: Any) -> None:
    result = study([made("e4m3", "adamw", 0.1), made("e5m2", "manifold-adamw", 0.3, status="missing")]).results[1]
    assert (result.format, result.optimizer, result.rate, result.seed) == ("e5m2", "manifold-adamw", 0.3, 1)


def test_the_baseline_is_the_one_asked_for(write: Callable[..., Path], made: Any) -> None:
    cells = [made(optimizer="manifold-adamw", options={"precondition": p}) for p in ("rungs", "off")] + [made()]
    assert Study.read(write(cells)).baseline == "manifold-adamw"
    directory = write([], baseline="x").parent
    for asked, expected in (("adamw", "adamw"), ("manifold-adamw", "manifold-adamw")):
        plan = json.loads((directory / "study" / "cells.json").read_text())
        told = [{"name": cell.name, "point": cell.point} for cell in cells]
        (directory / "study" / "cells.json").write_text(json.dumps({**plan, "baseline": asked, "cells": told}))
        assert Study.read(directory / "study").baseline == expected


def test_a_baseline_that_nobody_is_is_told(write: Callable[..., Path], made: Any) -> None:
    found = Study.read(write([made()], baseline="sgd"))
    assert found.problems == ('the baseline "sgd" is none of the optimizers: adamw',)
    assert found.baseline == "adamw"


def test_tables_in_tables_become_paths() -> None:
    assert flatten({"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}], "e": [4], "f": []}) == {
        "a.b": 1, "c[0].d": 2, "c[1].d": 3, "e": (4,), "f": (),
    }  # fmt: skip


def test_where_one_group_of_parameters_varies_its_optimizer_is_the_optimizer(
    study: Callable[..., Study], made: Any
) -> None:
    def cell(use: str, lr: float, seed: int = 1) -> Any:
        group = {"layers": "blocks.*", "only": "matrices", "use": use, "lr": lr, "weight_decay": 0.0}
        return made(rate=0.005, seed=seed, set={"optimizer.group": [group]})

    found = study([cell("adamw", 0.01), cell("adamw", 0.02), cell("manifold-adamw", 0.1, seed=2)])
    assert [(r.optimizer, r.rate, r.seed, r.variant) for r in found.results] == [
        ("adamw", 0.01, 1, ""),
        ("adamw", 0.02, 1, ""),
        ("manifold-adamw", 0.1, 2, ""),
    ]
    assert found.results[0].manifest["optimizer"]["lr"] == 0.005


def test_what_belongs_to_the_setting_of_each_group_optimizer_is_no_difference_of_its_own(made: Any) -> None:
    def cell(use: str, lr: float, outer: float, warmup: int, seed: int = 1) -> Any:
        group = {"layers": "blocks.*", "only": "matrices", "use": use, "lr": lr}
        more = {"optimizer.group": [group], "optimizer.schedule": {"kind": "cosine", "warmup": warmup}}
        return made(rate=outer, seed=seed, set=more)

    def told(*cells: Any) -> list[tuple[str, float | None, str]]:
        labels = labels_of([resolved(each) for each in cells], {})
        return [(label.optimizer, label.rate, label.variant) for label in labels]

    settings = [("adamw", 0.01, 0.005, 90), ("manifold-adamw", 0.1, 0.004, 40)]
    assert told(*(cell(*setting, seed=seed) for seed in (1, 2) for setting in settings)) == 2 * [
        ("adamw", 0.01, ""), ("manifold-adamw", 0.1, ""),
    ]  # fmt: skip
    # a warm-up or a rate that varies with the same group optimizer is a difference of its own
    for outer in (0.004, 0.005):  # which belongs to the setting, or is the same for all
        warmups = told(
            *(cell(use, lr, 0.005 if use == "adamw" else outer, w) for use, lr, *_ in settings for w in (40, 90))
        )
        assert warmups == [(use, lr, f"optimizer.schedule.warmup={w}") for use, lr, *_ in settings for w in (40, 90)]
    rates = told(cell(*settings[0]), cell("adamw", 0.01, 0.006, 90), cell(*settings[1]))
    assert [rate for _, rate, _ in rates] == [0.005, 0.006, 0.004]


def test_a_single_run_is_called_by_the_optimizer_of_its_only_group(study: Callable[..., Study], made: Any) -> None:
    group = {"layers": "blocks.*", "only": "matrices", "use": "grid", "lr": 0.3}
    (found,) = study([made(rate=0.005, set={"optimizer.group": [group]})]).results
    assert (found.optimizer, found.rate) == ("grid", 0.3)
    others = [group, {**group, "layers": "lm_head"}]
    (found,) = study([made(rate=0.007, set={"optimizer.group": others})]).results
    assert (found.optimizer, found.rate) == ("adamw", 0.007)  # of several groups none stands for all


def test_a_study_below_a_directory_of_runs_is_told(write: Callable[..., Path], made: Any) -> None:
    study = write([made()], place="runs/study")
    runs = study.parent
    with pytest.raises(
        ManifestError, match=rf"leaves in its directory; there is a study in it: altgrad report {study}$"
    ):
        Study.read(runs)
    shutil.copytree(study / made().name, runs / "alone")
    found = Study.read(runs)
    assert [result.name for result in found.results] == ["alone"]
    assert found.problems == (f"{runs}: a study below it is left out (study); see: altgrad report {study}",)

"""Every law over every installed plugin, third parties' included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from altgrad_core import testing
from altgrad_core.registry.kinds import KINDS
from altgrad_core.registry.registry import Entry, installed

OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("dataset", "huggingface"): {
        "files": [Path(__file__).with_name("actions.jsonl")],  # required
        "text_column": "because",
    },
    ("dataset", "labelled-text"): {  # required
        "files": [Path(__file__).with_name("labelled.jsonl")],
        "validation_files": [Path(__file__).with_name("labelled.jsonl")],
        "labels": 3,
        "length": 8,
    },
    ("dataset", "teacher"): {"width": 8, "examples": 50},  # small
    ("model", "mlp"): {"width": 8, "depth": 1},  # small
    ("dataset", "text-files"): {"paths": [Path(__file__).absolute()]},  # required
    ("monitor", "curvature"): {"iterations": 3, "probes": 2},  # quick
    ("intervention", "clip-layers"): {"max_norm": 1.0},  # required
    ("intervention", "clip-partition"): {"format": "e5m2"},  # required
    ("intervention", "replay"): {"records": Path(__file__).with_name("actions.jsonl")},  # required
    ("intervention", "rule"): {"reading": "loss", "above": 1.0},  # required
    ("intervention", "widen-stalled"): {"to": "e3m4"},  # required
    ("model", "nanogpt"): {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16},  # small
    ("model", "transformers"): {  # required, small
        "config": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2},
        "block_size": 16,
    },
    ("tracker", "wandb"): {"mode": "disabled"},  # no network
}
NEEDS = {
    ("model", "transformers"): "transformers",
    ("dataset", "huggingface"): "datasets",
    ("dataset", "labelled-text"): "datasets",
    ("dataset", "digits"): "sklearn",
    ("tracker", "wandb"): "wandb",
    ("tracker", "tensorboard"): "tensorboard",
    ("tracker", "trackio"): "trackio",
}
ENTRIES = list(installed())


@pytest.mark.parametrize("entry", ENTRIES, ids=[f"{entry.kind}-{entry.name}" for entry in ENTRIES])
def test_it_keeps_the_laws_of_its_kind(entry: Entry) -> None:
    if (entry.kind, entry.name) in {("executor", "ray"), ("executor", "slurm")}:
        pytest.skip("tests/plugins/test_ray.py and test_slurm.py try its laws")
    if (entry.kind, entry.name) in NEEDS:
        pytest.importorskip(NEEDS[entry.kind, entry.name])
    check = getattr(testing, f"check_{entry.kind}")
    check(entry.item, **OPTIONS.get((entry.kind, entry.name), {}))


@pytest.mark.parametrize(
    "options",
    [{"master": "none"}, {"normalize": "rms", "lr": 0.05}, {"master": "none", "bit_position": True}],
    ids=str,
)
def test_the_grid_optimizer_keeps_the_laws_in_its_other_modes(options: dict[str, Any]) -> None:
    testing.check_optimizer(installed().get("optimizer", "grid"), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"walk": "linear"},
        {"moments": "carried"},
        {"bit_position": True},
        {"lr_unit": "rungs", "lr": 0.5},
        {"precondition": "gradient", "lr": 1e-3},
        {"precondition": "off", "lr": 1e-3},
    ],
    ids=str,
)
def test_manifold_adamw_keeps_the_laws_in_its_other_modes(options: dict[str, Any]) -> None:
    testing.check_optimizer(installed().get("optimizer", "manifold-adamw"), **options)


@pytest.mark.parametrize("options", [{"dropout": 0.2}, {"bias": True}, {"tied": False}], ids=str)
def test_nanogpt_keeps_the_laws_in_its_other_shapes(options: dict[str, Any]) -> None:
    testing.check_model(installed().get("model", "nanogpt"), **OPTIONS["model", "nanogpt"], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_check_for_every_kind_of_noun(kind: str) -> None:
    assert f"check_{kind}" in testing.__all__


def test_no_plugin_here_is_broken() -> None:
    assert {plugin.source: plugin.broken for plugin in installed().broken} == {}


def test_the_table_of_options_names_plugins_that_exist() -> None:
    assert set(OPTIONS) | set(NEEDS) <= {(entry.kind, entry.name) for entry in ENTRIES}


def test_a_rule_over_several_readings_keeps_the_laws_too() -> None:
    when = [{"reading": "stall-ratio", "above": 0.9}, {"reading": "gradient-underflow-rate", "above": 0.5}]
    testing.check_intervention(installed().get("intervention", "rule"), when=when, patience=2)

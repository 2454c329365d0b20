"""Studies made up on the disk, in a moment: the files of every cell as a real run writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import tomlkit

from altgrad_core import __version__, load_format
from altgrad_core.records.diagnosis import diagnose
from altgrad_core.records.record import encode_record
from altgrad_core.registry.registry import installed

LAYERS = (
    "wte",
    "wpe",
    "blocks.0.attn.qkv",
    "blocks.0.attn.c_proj",
    "blocks.0.mlp.fc",
    "blocks.0.mlp.c_proj",
    "lm_head",
)
QUANTIZED = LAYERS[2:]
ROLES = ("weight", "activation", "gradient")
OPTIONS: dict[str, dict[str, Any]] = {
    "adamw": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "manifold-adamw": {
        "precondition": "rungs", "walk": "exact", "moments": "real", "bit_position": False, "fused": False,
        "lr_unit": "binades", "spacing": "own", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
    },
}  # fmt: skip
TASK = {"name": "next-token", "unit": "nats per token", "counts": "tokens", "initial_loss": math.log(64)}
DATA = {
    "loss_floor": 1.3862943611198906, "source": "synthetic", "tokens": 200000, "unigram_entropy": 4.158483211935454,
    "reference_losses": {"unigram table": 4.1585, "bigram table": 3.9, "trigram table": 3.8},
}  # fmt: skip
ENVIRONMENT = {
    "cpu": "AVX512", "device": "cpu", "machine": "x86_64", "python": "3.11.7", "system": "Linux", "threads": 1,
    "plugins": {
        "guards": "altgrad 0.1.0", "manifold": "altgrad 0.1.0", "minifloat": "altgrad 0.1.0",
        "movement": "altgrad 0.1.0", "nanogpt": "altgrad 0.1.0", "rank": "altgrad 0.1.0", "text": "altgrad 0.1.0",
    },
    "versions": {
        "altgrad": __version__, "numba": "0.68.1", "numpy": "2.4.6", "safetensors": "0.8.0", "torch": "2.13.0+cpu",
    },
}  # fmt: skip
BROKE = {
    "kind": "broke", "step": 2, "phase": "backward", "layer": "blocks.0.attn.qkv", "role": None,
    "what": "the gradient that reached the output of blocks.0.attn.qkv was not finite",
    "gradient_zeros": 0.08, "layers_without_gradient": [],
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A cell to be made up; `loss` None diverges."""

    format: str | None = "e4m3"
    optimizer: str = "adamw"
    rate: float = 0.1
    seed: int = 1
    loss: float | None = 2.0
    status: str = "finished"
    options: Mapping[str, Any] = field(default_factory=dict)
    quantizer: Mapping[str, Any] = field(default_factory=dict)
    more_rules: Sequence[Mapping[str, Any]] = ()
    readings: Mapping[str, Mapping[str, float] | float] = field(default_factory=dict)
    broke: Mapping[str, Any] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    evaluations: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 4
    role: str = "cell"

    @property
    def name(self) -> str:
        told = [self.format, self.optimizer, f"lr{self.rate:g}", f"seed{self.seed}"]
        more = [*self.options.values(), *self.quantizer.values(), *self.set.values(), *map(_short, self.more_rules)]
        return "-".join(map(str, [*told, *more])).replace("/", "")

    @property
    def ends(self) -> str:
        return "diverged" if self.status == "finished" and self.loss is None else self.status

    @property
    def point(self) -> dict[str, Any]:
        formats = {f"recipe[0].{role}.format": self.format for role in ROLES if self.format is not None}
        return {**formats, "optimizer": self.optimizer, "optimizer.lr": self.rate, "run.seed": self.seed}


def _short(rule: Mapping[str, Any]) -> str:
    return f"{rule['layers']}-{rule['weight']['format']}".replace("*", "all")


def quantizer(format: str, **more: Any) -> dict[str, Any]:
    """A quantizer as a resolved manifest has it."""
    return {
        "format": format, "rounding": "nearest-even", "scaling": "amax", "scale_rounding": "up",
        "granularity": "tensor", "scale_format": "fp32", "history": 16, "margin": 0, "overflow": "saturate",
        "straight_through": "identity", "nonfinite": "auto", **more,
    }  # fmt: skip


def resolved(made: Made) -> dict[str, Any]:
    """The resolved manifest of a cell."""
    manifest: dict[str, Any] = {
        "tracker": [],
        "run": {
            "name": "cell", "seed": made.seed, "steps": made.steps, "checkpoint_every": 20, "keep_checkpoints": 2,
            "evaluate_every": 10, "evaluate_batches": 8, "device": "auto", "reduce": "exact",
        },
        "model": {
            "use": "nanogpt", "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "dropout": 0.0,
            "bias": False, "tied": True, "qk_norm": False, "z_loss": 0.0,
        },
        "data": {
            "use": "synthetic", "batch_size": 4, "accumulate": 1, "vocabulary": 64, "tokens": 200000, "seed": 0,
            "validation_fraction": 0.1,
        },
        "optimizer": {
            "use": made.optimizer, "lr": made.rate, **OPTIONS.get(made.optimizer, {}), **made.options,
            "schedule": {"kind": "constant", "warmup": 0, "final": 0.1},
        },
        "recipe": [],
        "monitor": [
            {"use": "flips", "every": 10, "start": 0, "layers": "*"},
            {"use": "stable-rank", "every": 10, "start": 0, "layers": "*", "tolerance": 0.001},
        ],
        "intervention": [{"use": "stop-on-nonfinite", "patience": 3}],
    }  # fmt: skip
    if made.format is not None:
        manifest["recipe"] = [
            {"layers": "*", **{role: quantizer(made.format, **made.quantizer) for role in ROLES}},
            *made.more_rules,
        ]
    for key, value in made.set.items():
        table, name = key.split(".")
        manifest[table][name] = value
    return manifest


@lru_cache
def declared() -> dict[str, dict[str, Any]]:
    """By name, what the installed monitors declare of their readings."""
    monitors = [entry.item for entry in installed() if entry.kind == "monitor"]
    return {reading.name: reading.written() for monitor in monitors for reading in monitor.declared()}


def formats_of(made: Made) -> list[dict[str, Any]]:
    """The facts of the formats of a cell."""
    names = {rule["weight"]["format"] for rule in resolved(made)["recipe"]}
    return [load_format(name).facts() for name in sorted(names)]


def records(made: Made) -> list[dict[str, Any]]:
    """Every record of a cell, as far as it came."""
    found: list[dict[str, Any]] = [
        {
            "kind": "began", "name": "cell", "seed": made.seed, "steps": made.steps, "tokens_per_step": 64,
            "vocabulary": 64, "parameters": 4400, "data": DATA, "task": TASK, "formats": formats_of(made),
            "readings": [declared()[name] for name in made.readings if name in declared()],
        }
    ]  # fmt: skip
    end = made.loss if made.loss is not None else math.nan
    for step in range(1, made.steps + 1):
        loss = 4.0 + (end - 4.0) * step / made.steps
        found.append(
            {
                "kind": "step", "step": step, "loss": loss, "learning_rate": made.rate, "gradient_norm": loss / 4,
                "epoch": step * 0.001,
                **({"learning_rates": [made.rate, made.rate / 10]} if made.optimizer == "manifold-adamw" else {}),
            }
        )  # fmt: skip
        if made.loss is None and step == 2:
            found.append({**BROKE, **made.broke})
    for reading, values in made.readings.items():
        by_layer = values if isinstance(values, Mapping) else dict.fromkeys(QUANTIZED, values)
        record = {"kind": "reading", "step": made.steps, "monitor": "flips", "reading": reading, "values": by_layer}
        found.append(record)
    if made.loss is None:
        return [*found, {"kind": "ended", **ending(made)}]
    if made.ends not in ("finished", "stopped"):
        return found
    blocks = {"kind": "blocks", "step": made.steps, "losses": [made.loss - 0.1, made.loss + 0.1]}
    evaluation = {"kind": "evaluation", "step": made.steps, "loss": made.loss, "perplexity": math.exp(made.loss)}
    return [*found, evaluation, blocks, {"kind": "ended", **ending(made)}]


def ending(made: Made) -> dict[str, Any]:
    """How a cell ended, as the last record and the summary have it."""
    return {
        "status": made.ends, "step": made.steps, "switches": 0, "skipped_steps": 0,
        "reason": None if made.ends == "finished" else "the loss was not finite for 3 steps in a row",
        "loss": math.nan if made.loss is None else made.loss,
        "validation_loss": made.loss, "best_validation_loss": made.loss,
        "perplexity": None if made.loss is None else math.exp(made.loss),
        "metrics": {"perplexity": math.nan if made.loss is None else math.exp(made.loss)},
    }  # fmt: skip


def summary(made: Made) -> dict[str, Any]:
    """The content of `summary.json`."""
    rest = {
        "name": "cell", "tokens": 64 * made.steps, "seconds_in_this_process": 0.2, "parameters": 4400, "data": DATA,
        "task": TASK,
        "formats": formats_of(made),
    }  # fmt: skip
    return {**ending(made), **rest}


def as_toml(manifest: Mapping[str, Any]) -> str:
    """The manifest as a run writes it; cells that differ in seed and rate alone share the work."""
    run, optimizer = manifest["run"], manifest["optimizer"]
    common = {**manifest, "run": {**run, "seed": 987654}, "optimizer": {**optimizer, "lr": 0.987654}}
    text = _as_toml(json.dumps(common))
    return text.replace("seed = 987654", f"seed = {run['seed']}").replace("lr = 0.987654", f"lr = {optimizer['lr']!r}")


@lru_cache
def _as_toml(manifest: str) -> str:
    return tomlkit.dumps(json.loads(manifest))


def write_cell(place: Path, made: Made) -> None:
    """The directory of one cell; nothing of one that is missing."""
    if made.ends == "missing":
        return
    place.mkdir(parents=True)
    (place / "resolved.toml").write_text(as_toml(resolved(made)))
    (place / "env.json").write_text(json.dumps(ENVIRONMENT))
    (place / "records.jsonl").write_text("".join(encode_record(record) + "\n" for record in records(made)))
    if made.ends in ("finished", "diverged", "stopped"):
        more = {"evaluations": made.evaluations} if made.evaluations else {}
        (place / "summary.json").write_text(encode_record({**summary(made), **more}))
    if made.ends in ("diverged", "crashed"):
        crashed = {"status": "crashed", "reason": "RuntimeError: boom"} if made.ends == "crashed" else {}
        (place / "failure.json").write_text(encode_record({**diagnose(records(made)).plain(), **crashed}))


def write_study(directory: Path, cells: Iterable[Made], *, baseline: str | None = None, **plan: Any) -> Path:
    """A study on the disk, `cells.json` and all."""
    made = list(cells)
    directory.mkdir(parents=True, exist_ok=True)
    for each in made:
        write_cell(directory / each.name, each)
    told = [
        {"name": m.name, "identity": "0" * 64, "point": m.point, "role": m.role, "manifest": resolved(m)} for m in made
    ]
    head = {"schema": 1, "version": __version__, "name": "study", "baseline": baseline, "cells": told}
    (directory / "cells.json").write_text(json.dumps({**head, **plan}))
    return directory

"""`altgrad run --replay`: the log of a run's actions reproduces it without what decided on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from altgrad_core.results.lines import RecordReader

if TYPE_CHECKING:
    from tests.conftest import Said

RULES = """[
    { use = "rule", reading = "stall-ratio", above = 0.0, action = "switch-format", to = "e3m4" },
    { use = "emergency-shift", above = 0.0, patience = 1, chain = { e4m3 = "e5m2" } },
    { use = "rule", reading = "gradient-norm", above = 0.0, action = "clip", max_norm = 0.25 },
    { use = "rule", reading = "validation-loss", above = 0.0, action = "scale-learning-rate", factor = 0.5 },
    { use = "rule", reading = "loss", above = 0.0, patience = 3, action = "skip-step" },
    { use = "rule", reading = "learning-rate", above = 0.0, patience = 5, action = "warn" },
]"""


def test_the_log_without_the_monitors_gives_the_same_run(
    tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    rules = " ".join(RULES.split())
    first = altgrad(
        "run", tiny, "--out", tmp_path / "first", "--set", f"intervention={rules}", "--set", "run.evaluate_every=2"
    )
    assert first.code == 0, first.err
    told = altgrad(
        "run", tmp_path / "first" / "resolved.toml", "--replay", tmp_path / "first", "--out", tmp_path / "again"
    )
    assert told.code == 0, told.err
    one, other = (list(RecordReader(tmp_path / name / "records.jsonl")) for name in ("first", "again"))
    kinds = {record["action"] for record in one if record["kind"] == "action"}
    assert kinds == {"SwitchFormat", "ClipGradients", "ScaleLearningRate", "SkipStep", "Warn"}
    assert any(record["kind"] == "overruled" for record in one)
    assert not any(record["kind"] in ("reading", "overruled") for record in other)
    for kind in ("step", "evaluation", "ended"):
        assert [r for r in one if r["kind"] == kind] == [r for r in other if r["kind"] == kind]
    last = sorted((tmp_path / "first" / "checkpoints").iterdir())[-1].name
    for file in ("model.safetensors", "optimizer.safetensors", "plan.json"):
        assert (tmp_path / "first" / "checkpoints" / last / file).read_bytes() == (
            tmp_path / "again" / "checkpoints" / last / file
        ).read_bytes()
    asked = [(r["step"], r["action"], r["asked"]) for r in one if r["kind"] == "action"]
    assert asked == [(r["step"], r["action"], r["asked"]) for r in other if r["kind"] == "action"]
    assert json.loads(json.dumps(asked)) == [list(entry) for entry in asked]


def test_a_run_that_is_not_there_cannot_be_replayed(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    told = altgrad("run", tiny, "--replay", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert told.code == 2
    wanted = tmp_path / "nowhere" / "records.jsonl"
    assert told.err == f"altgrad: --replay {tmp_path}/nowhere: no run is there: no such file: {wanted}\n"
    assert not (tmp_path / "run").exists()

"""Runs that are made to fail in ways we know: the diagnosis names the layer, the operand and what is wrong with it.

A number that is not finite, in a chosen layer, operand and step, is in `tests/running/test_breakage.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Said

MANIFEST = """
[run]
name = "known"
seed = 3
steps = 60

[model]
use = "nanogpt"
n_layer = 2
n_head = 2
n_embd = 32
block_size = 16

[data]
use = "synthetic"
vocabulary = 16
tokens = 5000
batch_size = 4

[optimizer]
use = "adamw"
lr = 0.003

[[recipe]]
layers = "blocks.*"
weight = { format = "e4m3" }
activation = { format = "e4m3" }
gradient = { format = "e5m2" }

[[monitor]]
use = "flips"
every = 10

[[monitor]]
use = "stability"
every = 10

[[monitor]]
use = "quantization-error"
every = 10

[[intervention]]
use = "stop-on-divergence"

[[intervention]]
use = "rule"
reading = "stall-ratio"
above = 0.85
patience = 3
action = "stop"
"""
E7M0 = '\n[[recipe]]\nlayers = "{layer}"\nweight = {{ format = "e7m0" }}\n'
SATURATING = '\n[[recipe]]\nlayers = "{layer}"\n{role} = {{ format = "{format}", margin = -{margin} }}\n'
STALLING = '\n[[optimizer.group]]\nlayers = "{layer}"\nlr = 1e-7\n'
LAYERS = ("blocks.0.mlp.fc", "blocks.1.attn.qkv")
Fail = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def fail(tmp_path: Path, altgrad: Callable[..., Said]) -> Fail:
    """Train the manifest with tables added; the exit code, and the diagnosis as data and as text."""

    def run(tables: str, *settings: str) -> tuple[int, dict[str, Any], str]:
        manifest, out = tmp_path / "known.toml", tmp_path / "run"
        manifest.write_text(MANIFEST + tables)
        told = altgrad("run", manifest, "--out", out, *(part for s in settings for part in ("--set", s)))
        said = altgrad("diagnose", out).out
        if told.code == 4:  # the failure report says the same, and more
            assert (out / "failure.md").read_text().startswith(said)
        return told.code, json.loads(altgrad("diagnose", out, "--json").out), said

    return run


def test_what_fails_here_is_sound_without_the_failure(fail: Fail) -> None:
    code, found, said = fail("")
    assert (code, found["status"], found["broke"], found["rise"]) == (0, "finished", None, None)
    assert "No loss and no gradient was NaN or infinite.\n" in said
    assert not {e["reading"] for e in found["weakest"]} - {"stall-ratio"}
    assert all(e["value"] < 0.75 for e in found["weakest"])


@pytest.mark.parametrize("layer", LAYERS)
def test_weights_in_e7m0_are_named_with_what_rounding_costs_them(layer: str, fail: Fail) -> None:
    code, found, said = fail(E7M0.format(layer=layer))
    assert (code, found["status"]) == (4, "stopped") and found["step"] < 60
    assert found["reason"].startswith(f"stall-ratio of {layer} > 0.85 for 3 readings")
    assert [(e["layer"], e["role"], e["reading"]) for e in found["weakest"]] == [
        (layer, "weight", "stall-ratio"),
        (layer, "weight", "quantization-sqnr"),
    ]
    stall, sqnr = found["weakest"]
    assert stall["value"] > 0.85 > stall["median"]
    assert sqnr["value"] == pytest.approx(14, abs=1) and sqnr["median"] == pytest.approx(31.4, abs=1)
    assert f"The weakest layer is {layer} (weight): its stall-ratio was {stall['value']:.4g} at step " in said


@pytest.mark.parametrize(("rate", "broke"), [(1.0, None), (3.0, "*")])
def test_too_large_a_rate_is_the_suspect_where_no_layer_is(rate: float, broke: str | None, fail: Fail) -> None:
    code, found, said = fail("", f"optimizer={{use='sgd', lr={rate}}}")
    assert (code, found["status"]) == (4, "diverged")
    assert found["reason"] == "the loss was above 3 ln(vocabulary) for 5 steps in a row"
    assert (found["broke"] and found["broke"]["layer"]) == broke  # at most the norm of the whole gradient
    rise = found["rise"]
    assert rise["rate"] == rate and float(rise["growth"]) > 1
    assert rise["at"] < rise["step"] <= found["step"] and rise["lowest"] < 2.8 < 8.3 < rise["last"]
    assert (
        f"The loss rose from {rise['lowest']:.4g} at step {rise['at']}, where the learning rate was {rate:.4g}" in said
    )
    assert not any(e["reading"].endswith("-overflow-rate") for e in found["weakest"])


def test_a_rate_beyond_float32_is_found_in_the_update_or_the_pass_after_it(fail: Fail) -> None:
    code, found, said = fail("", "optimizer={use='sgd', lr=1e38}")
    assert (code, found["status"]) == (4, "diverged")
    broke = found["broke"]
    assert (broke["step"], broke["phase"]) in ((1, "optimizer"), (2, "forward"))
    assert f"**Step {broke['step']}, {broke['phase']}, {broke['layer']}" in said


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("role", "format", "margin"), [("weight", "e4m3", 3), ("activation", "e4m3", 3), ("gradient", "e5m2", 5)]
)
def test_a_scale_that_saturates_is_named_with_its_operand(
    role: str, format: str, margin: int, layer: str, fail: Fail
) -> None:
    code, found, said = fail(SATURATING.format(layer=layer, role=role, format=format, margin=margin))
    worst = next(e for e in found["weakest"] if e["reading"].endswith("-overflow-rate"))
    assert code == 0
    assert (worst["layer"], worst["role"], worst["reading"]) == (layer, role, f"{role}-overflow-rate")
    assert worst["value"] > 0.001 and worst["median"] == 0
    assert f"| {layer} | {role} | {role}-overflow-rate |" in said


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_that_stalls_is_named(layer: str, fail: Fail) -> None:
    code, found, said = fail(STALLING.format(layer=layer))
    assert (code, found["status"], found["step"]) == (4, "stopped", 30)
    (worst,) = found["weakest"]
    assert (worst["layer"], worst["role"], worst["reading"]) == (layer, "weight", "stall-ratio")
    assert worst["value"] > 0.99 and worst["median"] < 0.75
    assert f"The weakest layer is {layer} (weight): its stall-ratio was {worst['value']:.4g} at step 30" in said
    assert f"rule: Stop: stall-ratio of {layer} > 0.85 for 3 readings, now {worst['value']:.4g}" in said

"""The commands as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import altgrad_core
from altgrad_core import load_format
from altgrad_core.results.lines import RecordReader


def test_a_run_leaves_everything_it_promises(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    result = altgrad("run", tiny, "--out", tmp_path / "run")
    assert result.code == 0
    assert "tiny: finished after 6 steps" in result.out
    names = {path.name for path in (tmp_path / "run").iterdir()} - {"run.lock"}
    expected = {
        "manifest.toml",
        "resolved.toml",
        "env.json",
        "records.jsonl",
        "clock.jsonl",
        "summary.json",
        "checkpoints",
    }
    assert names == expected
    assert (tmp_path / "run" / "manifest.toml").read_text() == tiny.read_text()
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-4", "step-6"]


def test_records_tell_the_run_in_order(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    altgrad("run", tiny, "--out", tmp_path / "run")
    records = list(RecordReader(tmp_path / "run" / "records.jsonl"))
    assert [r["kind"] for r in records if r["kind"] != "reading"] == [
        "began", "step", "step", "step", "evaluation", "step", "step", "step", "evaluation",
        "blocks", "ended",
    ]  # fmt: skip
    assert {(r["step"], r["reading"]) for r in records if r["kind"] == "reading"} == {
        *((step, name) for step in (2, 4, 6) for name in ("flips", "updates", "flip-rate", "stall-ratio")),
        (3, "stable-rank"),
        (6, "stable-rank"),
    }


def test_progress_goes_to_stderr_and_the_result_to_stdout(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    result = altgrad("run", tiny, "--out", tmp_path / "run", "--json")
    told = json.loads(result.out)
    assert told["status"] == "finished"
    assert told["summary"]["step"] == 6
    assert [line.split()[1] for line in result.err.splitlines()] == [f"{step}/6" for step in range(1, 7)]


def test_the_resolved_manifest_runs_the_same(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    altgrad("run", tiny, "--out", tmp_path / "a")
    altgrad("run", tmp_path / "a" / "resolved.toml", "--out", tmp_path / "b")
    assert (tmp_path / "a" / "records.jsonl").read_bytes() == (tmp_path / "b" / "records.jsonl").read_bytes()


def test_steps_and_set_change_the_run(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    altgrad("run", tiny, "--out", tmp_path / "run", "--steps", "2", "--set", "run.name=short")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["name"], summary["step"]) == ("short", 2)


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = json.loads(altgrad("run", tiny, "--dry-run", "--json").out)
    assert plan == json.loads(altgrad("check", tiny, "--json").out)
    assert plan["layers"]["blocks.0.mlp.fc"] == {
        "shape": [64, 16],
        "weight": "e4m3 amax",
        "activation": "e4m3 delayed",
        "gradient": "e5m2 amax stochastic",
    }
    assert plan["layers"]["lm_head"] == {"shape": [16, 16]}
    assert not (tmp_path / "runs").exists()


def test_the_run_directory_is_named_after_the_run(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    altgrad("run", tiny, "--steps", "1")
    assert (tmp_path / "runs" / "tiny" / "summary.json").exists()
    assert (tmp_path / "runs" / "latest").resolve() == tmp_path / "runs" / "tiny"


def test_a_run_that_diverges_exits_with_4_and_says_why(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    guard = "intervention=[{use='stop-on-divergence', threshold=0.1, patience=2}]"
    result = altgrad("run", tiny, "--out", tmp_path / "run", "--set", guard)
    assert result.code == 4
    assert "tiny: diverged after 2 steps" in result.out
    assert "the loss was above 0.1 ln(vocabulary) for 2 steps in a row" in result.out
    assert f"\nsee: altgrad diagnose {tmp_path / 'run'}\n" in result.out and "broke first" not in result.out
    assert "step 2: stop-on-divergence: Stop (the loss was above" in result.err
    assert (tmp_path / "run" / "failure.md").read_text().startswith("# tiny: diverged at step 2 of 6\n")


def test_a_run_that_breaks_says_where_and_how_to_see_more(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    settings = (
        "--set",
        "optimizer={use='sgd', lr=1e38}",
        "--set",
        "intervention=[{use='stop-on-nonfinite', patience=1}]",
    )
    result = altgrad("run", tiny, "--out", tmp_path / "run", *settings)
    assert result.code == 4
    (told,) = [line for line in result.out.splitlines() if line.startswith("broke first: ")]
    broke = json.loads((tmp_path / "run" / "failure.json").read_text())["broke"]
    assert told.startswith(f"broke first: step {broke['step']}, {broke['phase']}, {broke['layer']}")
    assert told.endswith(broke["what"])


def test_a_stalled_layer_is_widened_and_the_switch_is_recorded(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    guard = "intervention=[{use='widen-stalled', to='e3m4', below=1.0, patience=1}]"
    altgrad("run", tiny, "--out", tmp_path / "run", "--set", guard)
    actions = [r for r in RecordReader(tmp_path / "run" / "records.jsonl") if r["kind"] == "action"]
    assert actions[0] == {
        "kind": "action",
        "step": 2,
        "intervention": "widen-stalled",
        "action": "SwitchFormat",
        "event": "Updated",
        "asked": {"layer": "blocks.0.attn.qkv", "role": "weight", "to": "e3m4"},
        "because": "flip rate < 1 for 1 readings",
        "layer": "blocks.0.attn.qkv",
        "role": "weight",
        "to": "e3m4",
        "format": load_format("e3m4").facts(),
        "changed": [{"layer": "blocks.0.attn.qkv", "role": "weight", "before": "e4m3", "after": "e3m4"}],
    }
    assert len(actions) == 4


def test_e0m7_and_e1m6_give_bit_identical_runs(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    for name in ("e0m7", "e1m6"):
        formats = [f"recipe.0.{role}.format={name}" for role in ("weight", "activation", "gradient")]
        altgrad("run", tiny, "--out", tmp_path / name, *(part for f in formats for part in ("--set", f)))
    lines = [
        [r for r in RecordReader(tmp_path / name / "records.jsonl") if r["kind"] != "began"]
        for name in ("e0m7", "e1m6")
    ]
    assert len(lines[0]) > 20
    assert lines[0] == lines[1]


def test_an_inline_format_trains(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    setting = "recipe.0.weight.format={exponent_bits=4, mantissa_bits=3, bias=8, specials='finite'}"
    assert altgrad("run", tiny, "--out", tmp_path / "run", "--set", setting).code == 0
    formats = json.loads((tmp_path / "run" / "summary.json").read_text())["formats"]
    assert [facts["name"] for facts in formats] == ["e4m3", "e4m3b8-finite", "e5m2"]


def test_any_import_path_to_a_module_factory_trains(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n"
        "def make(vocab_size, width):\n"
        "    return nn.Sequential(nn.Embedding(vocab_size, width), nn.Linear(width, vocab_size))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ["model={use='my_models:make', width=8, block_size=16}", "recipe.0.layers='1'"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert altgrad("run", tiny, "--out", tmp_path / "run", *arguments).code == 0
    assert altgrad("resume", tmp_path / "run").code == 0


def test_show_prints_the_facts_and_every_code(altgrad: Callable[..., Any]) -> None:
    told = json.loads(altgrad("show", "E4M3", "--json").out)
    assert (told["largest"], told["smallest_positive"], told["bias"], told["rungs"]) == (448.0, 2**-9, 7, 253)
    assert told["table"][0x7E] == 448.0
    assert told["table"][0x7F] == "nan"
    shown = altgrad("show", "e4m3").out
    assert "smallest positive" in shown
    assert "448" in shown


def test_show_counts_the_codes_of_a_wide_format_instead_of_listing_them(altgrad: Callable[..., Any]) -> None:
    assert "65536 codes; altgrad show bf16 --json prints them all" in altgrad("show", "bf16").out


def test_the_version_is_that_of_the_package(altgrad: Callable[..., Any]) -> None:
    assert altgrad("--version").out == f"altgrad {altgrad_core.__version__}\n"


def test_plugins_are_listed_with_what_they_are(altgrad: Callable[..., Any]) -> None:
    rows = json.loads(altgrad("list-plugins", "--kind", "optimizer", "--json").out)
    baselines = ["adamw", "sgd", "lamb", "adamw-relative", "adamw-stochastic", "adamw-kahan", "madam", "lns-madam"]
    assert [row["name"] for row in rows] == [*baselines, "grid", "manifold-adamw"]
    assert rows[-1].pop("options")["precondition"] == {"type": "'rungs' or 'gradient' or 'off'", "default": "rungs"}
    assert rows[-1] == {
        "kind": "optimizer",
        "name": "manifold-adamw",
        "plugin": "manifold",
        "distribution": "altgrad",
        "version": altgrad_core.__version__,
        "status": "ok",
        "summary": "AdamW with steps measured along the grid of the format.",
    }


def test_show_tells_the_options_of_any_plugin(altgrad: Callable[..., Any]) -> None:
    told = json.loads(altgrad("show", "widen-stalled", "--json").out)
    assert told["options"] == {
        "to": {"type": "str", "required": True},
        "below": {"type": "float", "default": 0.001},
        "patience": {"type": "int", "default": 20},
        "layers": {"type": "str", "default": "*"},
    }
    shown = altgrad("show", "widen-stalled").out
    assert shown.startswith("intervention widen-stalled (altgrad ")
    assert "patience             int, default 20" in shown


def test_a_diverged_run_stays_diverged_when_asked_again(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    guard = "intervention=[{use='stop-on-divergence', threshold=0.1, patience=2}]"
    codes = [altgrad("run", tiny, "--out", tmp_path / "run", "--set", guard).code for _ in range(2)]
    assert [*codes, altgrad("resume", tmp_path / "run").code] == [4, 4, 4]

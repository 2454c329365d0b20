"""Runs that are made to fail in one place, and what the failure report says of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from altgrad_core.records.diagnosis import as_markdown, diagnose
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.loop.loop import Loop
from altgrad_core.running.model.operand import Operand
from altgrad_core.testing.tiny import everything, tiny_run, train

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Said


def poison(monkeypatch: pytest.MonkeyPatch, path: str, role: str, step: int, value: float) -> None:
    """Rounding one operand gives a number that is not finite, at one step."""
    quantize = Operand._quantize

    def poisoned(self: Operand, x: torch.Tensor, training: bool) -> Any:
        done = quantize(self, x, training)
        if (self.path, self.role, self._moment.step) == (path, role, step):
            done.values.view(-1)[3] = value
        return done

    monkeypatch.setattr(Operand, "_quantize", poisoned)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("role", ["weight", "activation", "gradient"])
@pytest.mark.parametrize("path", ["hidden", "wide"])
def test_the_layer_the_role_and_the_step_are_named(
    path: str, role: str, step: int, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (path, role, value) == ("hidden", "weight", math.inf):
        pytest.skip("the model bounds that: neither loss nor gradient notice")
    poison(monkeypatch, path, role, step, value)
    run = tiny_run(steps=6)
    records = train(run)
    (broke,) = records.of("broke")
    phase = "backward" if role == "gradient" else "forward"
    assert (broke["step"], broke["phase"], broke["layer"], broke["role"]) == (step, phase, path, role)
    assert f"rounding its {role} to " in broke["what"]
    assert run.progress.broke == {key: value for key, value in broke.items() if key != "kind"}


def test_an_update_that_breaks_a_weight_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run(steps=6)
    step = run.optimizer.step

    def poisoned(*arguments: Any) -> Any:
        result = step(*arguments)
        if run.plan.moment.step == 3:
            with torch.no_grad():
                dict(run.model.named_parameters())["wide.weight"][0, 0] = math.nan
        return result

    monkeypatch.setattr(run.optimizer, "step", poisoned)
    (broke,) = train(run).of("broke")
    assert (broke["step"], broke["phase"], broke["layer"]) == (3, "optimizer", "wide")
    assert broke["what"] == "weight of wide is not finite, since the update of step 3"


def test_looking_for_it_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, "wide", "gradient", 3, math.nan)
    looked = tiny_run(steps=5)
    train(looked)
    blind = tiny_run(steps=5)
    monkeypatch.setattr(Loop, "_note_nonfinite", lambda self, step: None)
    train(blind)
    blind.progress.broke = looked.progress.broke
    assert everything(looked) == everything(blind)


def test_a_sound_run_says_that_nothing_broke() -> None:
    run = tiny_run(steps=4)
    assert train(run).of("broke") == []
    assert run.progress.broke is None


FAILING = "optimizer={use='adamw', lr=1e30}"


def test_the_command_tells_what_the_report_says(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    directory = tmp_path / "run"
    assert altgrad("run", tiny, "--out", directory, "--set", FAILING).code == 4
    report, told = (directory / "failure.md").read_text(), altgrad("diagnose", directory)
    assert told.code == 0 and report.startswith(told.out)
    assert "## What broke first\n\n**Step " in told.out
    assert report.endswith(f"```sh\naltgrad run {directory}/resolved.toml --out {directory}-again\n```\n")
    data = json.loads((directory / "failure.json").read_text())
    assert data == json.loads(altgrad("diagnose", directory, "--json").out)
    assert data["broke"]["phase"] in ("forward", "optimizer")


def test_the_command_of_the_report_reproduces_the_run(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    directory = tmp_path / "run"
    altgrad("run", tiny, "--out", directory, "--set", FAILING)
    command = (directory / "failure.md").read_text().split("```sh\naltgrad ")[1].split("\n")[0]
    altgrad(*command.split())
    assert (tmp_path / "run-again" / "records.jsonl").read_bytes() == (directory / "records.jsonl").read_bytes()


def test_a_sound_run_is_told_its_weakest_layer(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    directory = tmp_path / "run"
    altgrad("run", tiny, "--out", directory, "--set", "optimizer={use='adamw', lr=1e-7}")
    found = diagnose(RecordReader(directory / "records.jsonl"))
    assert not (directory / "failure.md").exists()
    worst = found.weakest[0]
    assert (found.status, found.broke, worst.reading) == ("finished", None, "stall-ratio")
    assert worst.value > 0.9
    said = as_markdown(found)
    assert "No loss and no gradient was NaN or infinite.\n" in said
    assert (
        f"The weakest layer is {worst.layer} (weight): its stall-ratio was {worst.value:.4g} at step {worst.step}"
        in said
    )


@pytest.mark.parametrize(
    ("recipe", "reading"),
    [
        ("gradient={format='e0m7', scaling='none'}", "gradient-underflow-rate"),
        ("activation={format='e0m7', scaling='none'}", "activation-overflow-rate"),
        ("weight={format='e2m1', scaling='none'}", "weight-underflow-rate"),
    ],
)
def test_a_range_that_does_not_fit_is_told(
    recipe: str, reading: str, tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    settings = (f"recipe=[{{layers='*mlp.fc', {recipe}}}]", "monitor=[{use='stability', every=1}]", "intervention=[]")
    told = altgrad("run", tiny, "--out", tmp_path / "run", *(part for text in settings for part in ("--set", text)))
    assert told.code == 0, told.err
    worst = diagnose(RecordReader(tmp_path / "run" / "records.jsonl")).weakest[0]
    assert (worst.layer, worst.reading) == ("blocks.0.mlp.fc", reading)


def test_where_nothing_is_alarming_it_says_so(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    settings = ("--set", "monitor=[{use='stability'}]", "--set", "intervention=[]")
    altgrad("run", tiny, "--out", tmp_path / "run", *settings, "--steps", "10")
    assert "No reading of any layer is alarming." in altgrad("diagnose", tmp_path / "run").out


def test_a_directory_without_a_run_is_no_run(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    told = altgrad("diagnose", tmp_path)
    assert (told.code, told.err) == (
        2,
        f"altgrad: {tmp_path}: no run has been started here; start one with: altgrad run MANIFEST\n",
    )

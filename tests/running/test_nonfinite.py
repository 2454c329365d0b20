"""NaN and infinity are results: recorded at the step they appear, and a run that ends with them has diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from altgrad_core.contracts.actions import Action, SkipStep
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.errors import RunError
from altgrad_core.records.record import number
from altgrad_core.running.state.checkpoint import read_checkpoint
from altgrad_core.running.state.serialize import tensors_from

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs

AT = 8
MODEL = '''
"""A model that goes wrong at one training step."""

from pathlib import Path

import torch
from torch import nn


class Poisoned(nn.Module):
    def __init__(self, vocabulary, kind, at):
        super().__init__()
        self.kind, self.at = kind, at
        self.embed, self.head = nn.Embedding(vocabulary, 8), nn.Linear(8, vocabulary, bias=False)
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, tokens):
        self.calls += self.training
        is_now = self.training and int(self.calls) == self.at
        if is_now and self.kind in ("weight nan", "weight inf"):
            with torch.no_grad():
                self.head.weight[0, 0] = float(self.kind[-3:])
        if is_now and self.kind == "crash" and Path("crash").exists():
            raise ValueError("the roof fell in")
        logits = self.head(self.embed(tokens))
        if is_now and self.kind == "gradient":
            logits.register_hook(lambda gradient: gradient * float("nan"))
        if is_now and self.kind == "loss nan":
            logits = logits * float("nan")
        if is_now and self.kind == "loss inf":
            logits = logits + torch.tensor([0.0] + [-float("inf")] * (logits.shape[-1] - 1))
        if is_now and self.kind == "batch":
            logits = logits * torch.tensor([1.0, float("nan")])[:, None, None]
        return logits


def build(vocabulary, kind="", at=0):
    return Poisoned(vocabulary, kind, at)
'''
MANIFEST = """
run = { name = "poisoned", steps = 20, checkpoint_every = 3, device = "cpu" }
model = { use = "poisoned_model:build", block_size = 8, kind = "", at = 8 }
data = { use = "synthetic", vocabulary = 16, tokens = 400, batch_size = 2 }
optimizer = { use = "adamw", lr = 0.01 }
"""
RECIPE = """
[[recipe]]
layers = "head"
weight = { format = "FORMAT" }
activation = { format = "FORMAT" }
gradient = { format = "FORMAT", rounding = "stochastic" }
"""
GUARD = '\n[[intervention]]\nuse = "stop-on-nonfinite"\n'


class SkipNonfinite(Intervention):
    """Leave out steps whose gradient is not finite."""

    name: ClassVar = "skip-nonfinite"
    reads: ClassVar = "gradient-norm"
    acts: ClassVar = (SkipStep,)

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        if not math.isfinite(readings["*"]):
            yield SkipStep(because="the gradient is not finite")


@pytest.fixture
def poisoned(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs of a model that goes wrong at step 8 in the way that `model.kind` says."""
    (runs.folder / "poisoned_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(runs.folder)
    monkeypatch.chdir(runs.folder)
    runs.text = MANIFEST
    return runs


def _first(runs: Runs, key: str) -> tuple[int, object]:
    """The step at which a value of the step records is first not finite, and how it is written."""
    return next(
        (r["step"], r[key]) for r in runs.records() if r["kind"] == "step" and not math.isfinite(number(r[key]))
    )


KINDS = {
    "weight nan": ("loss", AT, "NaN"),
    "weight inf": ("loss", AT, "NaN"),
    "loss nan": ("loss", AT, "NaN"),
    "batch": ("loss", AT, "NaN"),
    "gradient": ("gradient_norm", AT, "NaN"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_recorded_at_its_step_and_the_run_goes_on_to_its_end_as_diverged(kind: str, poisoned: Runs) -> None:
    outcome = poisoned.begin("run", f"model.kind={kind}")
    key, step, written = KINDS[kind]
    assert _first(poisoned, key) == (step, written)
    steps = [record for record in poisoned.records() if record["kind"] == "step"]
    assert len(steps) == 20
    assert [record["loss"] for record in steps[AT:]] == ["NaN"] * (20 - AT)
    assert (outcome.status, outcome.exit_code) == ("diverged", 4)
    assert outcome.ending.summary["loss"] == outcome.ending.summary["perplexity"] == "NaN"
    assert outcome.ending.summary["reason"] == "the loss is nan at the last step"
    assert (
        (poisoned.folder / "run" / "failure.md")
        .read_text()
        .startswith(
            "# poisoned: diverged at step 20 of 20\n\nthe loss is nan at the last step\n\n## What broke first\n"
        )
    )
    (broke,) = (record for record in poisoned.records() if record["kind"] == "broke")
    assert broke["step"] == (step - 1 if kind.startswith("weight") else step)  # a weight counts for the last update


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_checkpoint_that_was_sound_is_kept(kind: str, poisoned: Runs) -> None:
    poisoned.begin("run", f"model.kind={kind}")
    assert poisoned.steps() == [20, 18, 6]
    root = poisoned.folder / "run" / "checkpoints"
    finite = [
        all(
            bool(t.isfinite().all())
            for t in tensors_from(read_checkpoint(root / f"step-{s}")["model.safetensors"], "").values()
        )
        for s in poisoned.steps()
    ]
    assert finite == [False, False, True]


@pytest.mark.parametrize("format", ["e4m3", "e5m2", "e3m4", "e2m1"])
def test_no_format_hides_a_nan_in_a_weight(format: str, poisoned: Runs) -> None:
    poisoned.text += RECIPE.replace("FORMAT", format)
    poisoned.begin("run", "model.kind=weight nan")
    assert _first(poisoned, "loss") == (AT, "NaN")


def test_one_infinite_loss_with_a_finite_gradient_is_recorded_and_the_run_recovers(poisoned: Runs) -> None:
    poisoned.text += GUARD
    outcome = poisoned.begin("run", "model.kind=loss inf")
    assert [r["step"] for r in poisoned.records() if r.get("loss") == "Infinity"] == [AT]
    assert (outcome.status, outcome.exit_code) == ("finished", 0)


def test_the_guard_stops_it_after_its_patience(poisoned: Runs) -> None:
    poisoned.text += GUARD
    outcome = poisoned.begin("run", "model.kind=weight nan")
    because = "the loss was not finite for 3 steps in a row"
    assert (outcome.status, outcome.exit_code, outcome.ending.summary["reason"]) == ("diverged", 4, because)
    assert [record for record in poisoned.records() if record["kind"] == "action"] == [
        {
            "kind": "action",
            "step": AT + 2,
            "intervention": "stop-on-nonfinite",
            "action": "Stop",
            "event": "Backpropagated",
            "asked": {"diverged": True},
            "because": because,
            "status": "diverged",
        }
    ]
    assert poisoned.steps() == [AT + 2, 9, 6]
    assert (poisoned.folder / "run" / "failure.md").read_text().splitlines()[:3] == [
        f"# poisoned: diverged at step {AT + 2} of 20",
        "",
        because,
    ]


def test_stopped_and_killed_before_the_summary_it_ends_the_same(poisoned: Runs) -> None:
    poisoned.text += GUARD
    for name in ("whole", "run"):
        poisoned.begin(name, "model.kind=weight nan")
    (poisoned.folder / "run" / "summary.json").unlink()
    assert poisoned.resume().exit_code == 4
    assert poisoned.result() == poisoned.result("whole")


def test_a_nan_that_only_the_validation_sees_counts_too(poisoned: Runs) -> None:
    outcome = poisoned.begin("run", "model.kind=gradient", "model.at=20")
    assert math.isfinite(poisoned.records()[-2]["loss"] if poisoned.records()[-2]["kind"] == "step" else 0)
    assert (outcome.status, outcome.exit_code) == ("diverged", 4)
    assert outcome.ending.summary["reason"] == "the validation loss is nan at the last step"
    evaluated = [record for record in poisoned.records() if record["kind"] == "evaluation"]
    assert evaluated == [{"kind": "evaluation", "step": 20, "loss": "NaN", "perplexity": "NaN"}]


def test_a_skipped_step_saves_the_run(poisoned: Runs) -> None:
    poisoned.offers = {"intervention": [SkipNonfinite]}
    poisoned.text += '\n[[intervention]]\nuse = "skip-nonfinite"\n'
    outcome = poisoned.begin("run", "model.kind=loss nan")
    assert (outcome.status, outcome.ending.summary["skipped_steps"]) == ("finished", 1)
    assert _first(poisoned, "loss") == (AT, "NaN")


def test_interrupted_and_resumed_a_diverged_run_is_the_same(poisoned: Runs) -> None:
    poisoned.begin("whole", "model.kind=gradient")
    poisoned.begin("run", "model.kind=gradient", at=7)
    for step in (8, 9, 13):
        poisoned.resume(at=step)
    assert poisoned.resume().status == "diverged"
    assert poisoned.result() == poisoned.result("whole")


def test_the_command_line_ends_with_4(poisoned: Runs, altgrad: Callable[..., Said]) -> None:
    said = altgrad("run", poisoned.manifest(), "--set", "model.kind=weight nan", "--out", poisoned.folder / "run")
    assert said.code == 4
    assert said.out.startswith("poisoned: diverged after 20 steps\nthe loss is nan at the last step\n")


def test_a_crash_leaves_its_traceback_on_file_and_the_run_can_go_on_once_its_cause_is_gone(poisoned: Runs) -> None:
    poisoned.begin("whole", "model.kind=crash")
    Path("crash").touch()
    with pytest.raises(RunError) as caught:
        poisoned.begin("run", "model.kind=crash")
    failure = poisoned.folder / "run" / "failure.md"
    assert str(caught.value) == (
        f"crashed after step {AT - 1}: ValueError: the roof fell in\nThe traceback is in {failure}; "
        f"once its cause is gone: altgrad resume {poisoned.folder}/run"
    )
    assert failure.read_text().startswith(
        f"# poisoned: crashed at step {AT - 1} of 20\n\nValueError: the roof fell in\n"
    )
    assert 'raise ValueError("the roof fell in")' in failure.read_text()
    Path("crash").unlink()
    assert poisoned.resume().status == "finished"
    assert not failure.exists()
    assert poisoned.result() == poisoned.result("whole")

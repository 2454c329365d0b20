"""What a model adds to the training loss: it is there in training, over all micro-batches, and not in validation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.assemble import assemble
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.loop.evaluate import evaluate
from altgrad_core.running.loop.loop import Loop
from altgrad_core.testing.tiny import Tape, train


def assembled(manifest: Path, *settings: str) -> Run:
    return assemble(resolve(load_manifest(manifest, settings), installed()))


def partition(run: Run, step: int, micro_batch: int) -> float:
    """The mean squared log of the partition function, exactly, in float64."""
    run.at(step, "train", micro_batch)
    with torch.no_grad():
        logits = run.model(run.batches.train(step, micro_batch)[0]).double()
    return float(logits.exp().sum(-1).log().square().mean())


def first_loss(run: Run) -> float:
    tape = Tape()
    train(run, tape, until=1)
    return float(tape.of("step")[0]["loss"])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_z_loss_is_added_to_the_training_loss_of_every_micro_batch(accumulate: int, tiny: Path) -> None:
    settings = ("recipe=[]", "intervention=[]", "monitor=[]", f"data.accumulate={accumulate}")
    plain, penalized = assembled(tiny, *settings), assembled(tiny, *settings, "model.z_loss=0.5")
    mean = sum(partition(plain, 1, index) for index in range(accumulate)) / accumulate
    assert first_loss(penalized) - first_loss(plain) == pytest.approx(0.5 * mean, rel=1e-5)


def test_its_gradient_is_that_of_the_formula(tiny: Path) -> None:
    settings = ("recipe=[]", "intervention=[]", "monitor=[]")
    plain, penalized = (assembled(tiny, *settings, f"model.z_loss={z}") for z in (0.0, 0.5))
    inputs, targets = plain.batches.train(1, 0)
    logits = plain.model(inputs)
    (plain.data.task.loss(logits, targets) + 0.5 * logits.exp().sum(-1).log().square().mean()).backward()
    Loop(penalized, Tape(), saver=None, signals=None)._micro_loss(1, 0).backward()  # type: ignore[arg-type]
    for one, other in zip(plain.model.parameters(), penalized.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_validation_losses_are_without_it(tiny: Path) -> None:
    plain, penalized = (assembled(tiny, f"model.z_loss={z}") for z in (0.0, 0.5))
    assert evaluate(plain, 0) == evaluate(penalized, 0)


def test_without_the_option_nothing_is_added(tiny: Path) -> None:
    assert assembled(tiny).added_loss is None


def test_a_z_loss_without_a_softmax_is_refused() -> None:
    from altgrad_nanogpt import NanoGPT

    from altgrad_core import AnyOf, ManifestError, OneOf

    with pytest.raises(ManifestError) as caught:
        NanoGPT(z_loss=1e-4).added_loss(AnyOf(5))
    assert str(caught.value) == (
        'model.z_loss: it is of a softmax over the outputs, and the task "any-of" has none; leave it out'
    )
    added = NanoGPT(z_loss=1.0).added_loss(OneOf(4))
    assert added is not None and added(torch.zeros(2, 4)) == pytest.approx(math.log(4) ** 2)


def test_a_resolved_manifest_has_the_options(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    options = [part for key in ("z_loss=1e-4", "qk_norm=true") for part in ("--set", f"model.{key}")]
    said = altgrad("run", tiny, *options, "--out", tmp_path / "run", "--steps", 2)
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    assert "z_loss = 0.0001" in (tmp_path / "run" / "resolved.toml").read_text()

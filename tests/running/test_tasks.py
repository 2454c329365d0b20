"""Tasks beyond the next token: their losses and metrics against scikit-learn, their data through the real command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from altgrad_core import AnyOf, DataShape, ExampleData, Examples, ManifestError, NextToken, OneOf, Values
from altgrad_core.registry.registry import installed
from altgrad_core.running.data.example_batches import ExampleBatches
from altgrad_core.running.loop.evaluate import shortened

SUPERVISED = """
[run]
name = "supervised"
steps = 30
evaluate_every = 15
checkpoint_every = 10
[model]
use = "mlp"
width = 16
depth = 1
[data]
use = "digits"
batch_size = 16
accumulate = 2
[optimizer]
use = "adamw"
lr = 0.01
[[recipe]]
layers = "blocks.*"
weight = { format = "e4m3" }
activation = { format = "e4m3", scaling = "delayed" }
gradient = { format = "e5m2", rounding = "stochastic" }
"""
SEEDS = st.integers(0, 2**31)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)  # the first call imports scikit-learn
@given(SEEDS, st.integers(1, 9))
def test_classes_agree_with_scikit_learn(seed: int, batch: int) -> None:
    task, outputs = OneOf(5), random(seed, batch, 5)
    targets = torch.arange(batch) % 5
    expected = metrics.log_loss(targets, outputs.double().softmax(-1), labels=range(5))
    assert float(task.loss(outputs, targets)) == pytest.approx(expected, rel=1e-5)
    assert task.each(outputs, targets).mean() == pytest.approx(expected, rel=1e-5)
    found = task.metrics(0.0, task.tally(outputs, targets))
    assert found == {"accuracy": pytest.approx(metrics.accuracy_score(targets, outputs.argmax(-1)))}


@settings(deadline=None)
@given(SEEDS, st.integers(1, 9))
def test_labels_agree_with_scikit_learn(seed: int, batch: int) -> None:
    task, outputs, targets = AnyOf(4), random(seed, batch, 4), (random(seed + 1, batch, 4) > 0).long()
    found = task.metrics(0.0, task.tally(outputs, targets))
    for name in ("micro", "macro"):
        expected = metrics.f1_score(targets, outputs > 0, average=name, zero_division=0.0)
        assert found[f"{name}-f1"] == pytest.approx(expected)
    expected = np.mean([metrics.log_loss(targets[:, i], outputs[:, i].sigmoid(), labels=[0, 1]) for i in range(4)])
    assert float(task.loss(outputs, targets)) == pytest.approx(expected, rel=1e-4)
    assert task.each(outputs, targets).mean() == pytest.approx(expected, rel=1e-4)


def test_small_losses_of_examples_are_recorded_to_the_same_number_of_digits() -> None:
    assert [shortened(loss) for loss in (4.12345678, 1.23456789e-9, math.inf)] == [4.123457, 1.234568e-9, math.inf]
    assert math.isnan(shortened(math.nan))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_counts_of_outputs_in_few_bits_are_exact(dtype: torch.dtype) -> None:
    targets = torch.zeros(70_000, dtype=torch.int64)
    targets[:259] = 1
    task, outputs = OneOf(2), torch.tensor([1.0, 0.0], dtype=dtype).expand(70_000, 2)
    assert task.tally(outputs, targets).tolist() == [69_741, 70_000]


@given(SEEDS)
def test_tallies_add_up_over_batches(seed: int) -> None:
    task, outputs, targets = AnyOf(3), random(seed, 8, 3), (random(seed + 1, 8, 3) > 0).long()
    parts = sum(task.tally(outputs[i : i + 3], targets[i : i + 3]) for i in range(0, 8, 3))
    assert torch.equal(task.tally(outputs, targets), parts)


def test_values_explain_a_share_of_the_variance() -> None:
    task, targets = Values(2, variance=2.0), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert float(task.loss(targets + 1, targets)) == 1.0 and task.each(targets + 1, targets).tolist() == [1.0, 1.0]
    assert task.metrics(1.0, task.tally(targets, targets)) == {"explained-variance": 0.5}


def test_a_task_that_has_learned_nothing_is_at_its_initial_loss() -> None:
    zeros = torch.zeros(6, 4)
    assert float(OneOf(4).loss(zeros, torch.arange(6) % 4)) == pytest.approx(OneOf(4).initial_loss)
    assert float(AnyOf(4).loss(zeros, zeros)) == pytest.approx(AnyOf(4).initial_loss)
    assert float(NextToken(4).loss(zeros.view(2, 3, 4), torch.zeros(2, 3).long())) == pytest.approx(math.log(4))


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 3), SEEDS)
def test_an_epoch_has_every_example_once(examples: int, batch: int, accumulate: int, seed: int) -> None:
    data = Examples(np.arange(examples, dtype=np.float32)[:, None], np.arange(examples))
    batches = ExampleBatches(
        ExampleData(data, data, OneOf(max(2, examples))), batch_size=batch, accumulate=accumulate, seed=seed
    )
    steps = -(-examples // (batch * accumulate))
    seen = [
        t for step in range(1, steps + 1) for micro in range(accumulate) for t in batches.train(step, micro)[1].tolist()
    ]
    assert sorted(seen[:examples]) == list(range(examples))
    held_out = [t for _, targets in batches.validation(100) for t in targets.tolist()]
    assert held_out == list(range(examples))


def run(altgrad: Any, path: Path, *words: str) -> list[dict[str, Any]]:
    assert altgrad("run", path, *words).code == 0
    directory = path.parent / "runs" / "supervised"
    return [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("options", "metric", "unit"),
    [
        ([], "accuracy", "nats"),
        (["--set", "data.use=teacher", "--set", "data.width=8"], "explained-variance", "squared error"),
    ],
)
def test_examples_are_learned_through_the_command_line(
    altgrad: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], metric: str, unit: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "supervised.toml"
    path.write_text(SUPERVISED)
    records = run(altgrad, path, *options)
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    assert evaluations[-1][metric] > 0.3 and evaluations[-1]["loss"] < records[1]["loss"]
    assert records[0]["task"]["unit"] == unit and "perplexity" not in evaluations[-1]
    shown = altgrad("run", path, *options, "--overwrite").out
    assert unit in shown and metric in shown and "per token" not in shown
    assert altgrad("report", tmp_path / "runs" / "supervised").code == 0


def test_examples_are_not_called_tokens(altgrad: Any, tmp_path: Path) -> None:
    manifest, out = tmp_path / "digits.toml", tmp_path / "run"
    manifest.write_text(SUPERVISED)
    assert "steps of 32 examples" in " ".join(altgrad("check", manifest).out.split())
    told = altgrad("run", manifest, "--out", out, "--steps", 6)
    assert "examples/s" in told.err and "tokens" not in told.out + told.err
    altgrad("report", out)
    report = (out / "report.md").read_text()
    assert "examples trained on" in report and "tokens trained on" not in report


def test_a_model_of_numbers_and_data_of_tokens_do_not_go_together(altgrad: Any, tmp_path: Path) -> None:
    path = tmp_path / "supervised.toml"
    path.write_text(SUPERVISED)
    assert 'model.use: "mlp" does not predict tokens' in altgrad("check", path, "--set", "data.use=synthetic").err
    said = altgrad("check", path, "--set", "model={use='nanogpt'}").err
    assert '"nanogpt" takes tokens, and this data set has numbers' in said


def test_a_model_without_build_for_says_so() -> None:
    spec = installed().get("model", "transformers")
    with pytest.raises(ManifestError, match="predicts only tokens"):
        spec.model_construct().build_for(DataShape((5,), 3))


def test_an_intervention_reads_the_metrics_of_the_task_and_no_others(altgrad: Any, tmp_path: Path) -> None:
    path = tmp_path / "supervised.toml"
    rule = """
[[intervention]]
use = "rule"
reading = "accuracy"
above = 0.1
action = "stop"
"""
    path.write_text(SUPERVISED + rule)
    assert altgrad("run", path, "--out", tmp_path / "run").code == 4
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record["kind"] == "action"] == [15]
    path.write_text(SUPERVISED + rule.replace("accuracy", "perplexity"))
    said = altgrad("check", path).err
    assert 'rule reads "perplexity", which these data do not have; they have accuracy, and validation-loss' in said


def test_targets_without_variance_are_refused(monkeypatch: pytest.MonkeyPatch, altgrad: Any, tmp_path: Path) -> None:
    flat = Examples(np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32))
    data = ExampleData(flat, flat, Values(1, 0.0))
    monkeypatch.setattr(installed().get("dataset", "digits"), "build", lambda self: data)
    path = tmp_path / "supervised.toml"
    path.write_text(SUPERVISED)
    assert "the loss of a model that has learned nothing is 0.0" in altgrad("check", path).err

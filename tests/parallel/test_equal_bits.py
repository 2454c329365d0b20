"""A run gives the same bits however many processes share its micro-batches."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record
from altgrad_core.registry.registry import installed
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.parallel.processes import ALONE, Processes
from altgrad_core.running.session.session import begin
from altgrad_core.running.session.session import resume as go_on
from altgrad_core.running.state.checkpoint import checkpoint_steps
from tests.parallel.together import together

MANIFEST = """
[run]
name = "together"
seed = 11
steps = 8
checkpoint_every = 2
evaluate_every = 4
evaluate_batches = 3
device = "cpu"

[model]
use = "nanogpt"
n_layer = 1
n_head = 2
n_embd = 8
block_size = 8
dropout = 0.1
qk_norm = true
z_loss = 0.01
base_width = 4

[data]
use = "synthetic"
vocabulary = 16
tokens = 800
batch_size = 2
accumulate = 4

[optimizer]
OPTIMIZER
clip_norm = 1.0
schedule = { kind = "cosine", warmup = 3 }

[[recipe]]
layers = "blocks.*"
weight = { format = "e5m2", rounding = "stochastic" }
activation = { format = "e4m3", scaling = "delayed", history = 4, scale_rounding = "exact" }
gradient = { format = "e5m2", rounding = "stochastic", scaling = "delayed", history = 3 }

[[monitor]]
use = "flips"
every = 3

[[monitor]]
use = "stability"
every = 2

[[monitor]]
use = "gradient-fidelity"
every = 4

[[intervention]]
use = "widen-stalled"
to = "e3m4"
below = 1.0
patience = 1
"""
WALK = 'use = "manifold-adamw"\nlr = 0.1'
SUITE = ("manifold-adamw", "grid")
OPTIMIZERS = sorted(entry.name for entry in installed() if entry.kind == "optimizer")


def silent(record: Record) -> None:
    """Show nobody."""


def trained(
    folder: Path,
    name: str,
    *,
    size: int,
    optimizer: str = WALK,
    settings: tuple[str, ...] = (),
    text: str = MANIFEST,
    code: int = 0,
) -> Path:
    """The directory of a run by so many processes."""
    path = folder / "together.toml"
    path.write_text(text.replace("OPTIMIZER", optimizer))

    def work(processes: Processes) -> int:
        resolved = resolve(load_manifest(path, settings), installed())
        return begin(resolved, RunDirectory(folder / name), overwrite=False, show=silent, processes=processes).exit_code

    codes = [work(ALONE)] if size == 1 else together(size, folder, work)  # alone: in this process, which warms up
    assert codes == [code] * size
    return folder / name


def result(directory: Path) -> dict[str, bytes]:
    """The records and every file of the newest checkpoint."""
    newest = directory / "checkpoints" / f"step-{checkpoint_steps(directory / 'checkpoints')[0]}"
    files = {file.name: file.read_bytes() for file in sorted(newest.iterdir())}
    return {"records.jsonl": (directory / "records.jsonl").read_bytes(), **files}


@pytest.mark.parametrize(
    "optimizer", [o if o in SUITE else pytest.param(o, marks=pytest.mark.slow) for o in OPTIMIZERS]
)
def test_two_processes_give_the_bits_of_one(optimizer: str, tmp_path: Path) -> None:
    options = 'lr = 0.01\nmaster = "none"' if optimizer == "grid" else "lr = 0.01"
    table = f'use = "{optimizer}"\n{options}'
    alone = result(trained(tmp_path, "alone", size=1, optimizer=table))
    assert result(trained(tmp_path, "two", size=2, optimizer=table)) == alone


@pytest.mark.parametrize("size", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_more_processes_give_the_bits_of_one(size: int, tmp_path: Path) -> None:
    settings = (f"data.accumulate={size}",)
    alone = result(trained(tmp_path, "alone", size=1, settings=settings))
    assert result(trained(tmp_path, "many", size=size, settings=settings)) == alone


@pytest.mark.parametrize("accumulate", [6, pytest.param(12, marks=pytest.mark.slow)])
def test_three_processes_share_micro_batches_that_are_no_power_of_two(accumulate: int, tmp_path: Path) -> None:
    settings = (f"data.accumulate={accumulate}",)
    alone = result(trained(tmp_path, "alone", size=1, settings=settings))
    assert result(trained(tmp_path, "three", size=3, settings=settings)) == alone


def test_the_run_has_what_the_comparison_is_about(tmp_path: Path) -> None:
    records = list(RecordReader(trained(tmp_path, "two", size=2) / "records.jsonl"))
    assert {"SwitchFormat"} <= {r["action"] for r in records if r["kind"] == "action"}
    assert {"flips", "stability", "gradient-fidelity"} <= {
        r["monitor"] for r in records if r["kind"] == "reading" and "monitor" in r
    }


def test_a_fast_reduction_is_close_to_the_exact_one(tmp_path: Path) -> None:
    exact = trained(tmp_path, "exact", size=1)
    fast = trained(tmp_path, "fast", size=2, settings=('run.reduce="fast"',))
    losses = [[r["loss"] for r in RecordReader(d / "records.jsonl") if r["kind"] == "step"] for d in (exact, fast)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.parametrize(
    ("before", "after"),
    [(2, 4), pytest.param(1, 2, marks=pytest.mark.slow), pytest.param(2, 1, marks=pytest.mark.slow)],
)
def test_a_run_goes_on_with_another_number_of_processes(before: int, after: int, tmp_path: Path) -> None:
    whole = result(trained(tmp_path, "whole", size=1))
    path, place = tmp_path / "together.toml", tmp_path / "run"

    def stop(record: Record) -> None:
        if record["kind"] == "step" and record["step"] == 5:
            signal.raise_signal(signal.SIGTERM)

    def first(processes: Processes) -> int:
        show = silent if processes.rank else stop
        return begin(
            resolve(load_manifest(path), installed()),
            RunDirectory(place),
            overwrite=False,
            show=show,
            processes=processes,
        ).exit_code

    def second(processes: Processes) -> int:
        return go_on(RunDirectory(place), installed(), strict=False, show=silent, processes=processes).exit_code

    assert (together(before, tmp_path, first) if before > 1 else [first(ALONE)]) == [143] * before
    assert (together(after, tmp_path, second) if after > 1 else [second(ALONE)]) == [0] * after
    assert result(tmp_path / "run") == whole


def test_processes_with_another_manifest_are_refused_before_anything_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "together.toml"
    path.write_text(MANIFEST.replace("OPTIMIZER", WALK))

    def work(processes: Processes) -> int:
        resolved = resolve(load_manifest(path, (f"run.seed={processes.rank}",)), installed())
        return begin(
            resolved, RunDirectory(tmp_path / "run"), overwrite=False, show=silent, processes=processes
        ).exit_code

    assert together(2, tmp_path, work) == [99, 99]
    assert "process 1 has manifest " in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


class LayerDrop(torch.nn.Module):
    """A model that calls one of its layers in some micro-batches only."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, 16)
        self.always, self.sometimes = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)
        self.head = torch.nn.Linear(16, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        x = x + self.always(x)
        if not self.training or torch.rand(()) < 0.4:
            x = x + self.sometimes(x)
        return self.head(x)


def with_model(name: str) -> str:
    """The manifest with a model of this file."""
    start, end = MANIFEST.index("[model]"), MANIFEST.index("[data]")
    return f'{MANIFEST[:start]}[model]\nuse = "{__name__}:{name}"\nblock_size = 8\n\n{MANIFEST[end:]}'


def test_a_layer_that_some_micro_batches_leave_out_gives_the_same_bits(tmp_path: Path) -> None:
    text = with_model("LayerDrop").replace('"blocks.*"', '"always|sometimes|head"').split("[[intervention]]")[0]
    settings = ("run.steps=14", 'recipe[0].weight.scale_rounding="exact"')
    alone = result(trained(tmp_path, "alone", size=1, settings=settings, text=text))
    for size in (2, 4):
        assert result(trained(tmp_path, f"{size}", size=size, settings=settings, text=text)) == alone


ROLLING = """
[[intervention]]
use = "roll-back"
threshold = 0.5
patience = 4

[[monitor]]
use = "reversals"

[[intervention]]
use = "freeze-oscillating"
above = 0.0001
"""


def test_a_run_that_is_rolled_back_gives_the_same_bits(tmp_path: Path) -> None:
    text = MANIFEST + ROLLING  # it never gets below the threshold, and diverges after three times
    alone = trained(tmp_path, "alone", size=1, text=text, code=4)
    assert sum("to_step" in record for record in RecordReader(alone / "records.jsonl")) == 3
    assert result(trained(tmp_path, "two", size=2, text=text, code=4)) == result(alone)


class Counting(torch.nn.Module):
    """A model that counts its passes in a buffer."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, vocabulary)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        return self.embedding(tokens)


def test_a_model_whose_buffers_change_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "counting.toml"
    text = with_model("Counting").split("[[recipe]]")[0]
    path.write_text(text.replace("OPTIMIZER", 'use = "adamw"\nlr = 0.01'))

    def work(processes: Processes) -> int:
        resolved = resolve(load_manifest(path), installed())
        return begin(
            resolved, RunDirectory(tmp_path / "run"), overwrite=False, show=silent, processes=processes
        ).exit_code

    assert together(2, tmp_path, work) == [99, 99]
    assert (
        "a training pass changes its buffer passes, which 2 processes would see differently" in capfd.readouterr().err
    )

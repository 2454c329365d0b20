"""What tests of runs share: a short manifest with everything random and stateful in it, begun and resumed in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record
from altgrad_core.registry.registry import Registry, installed
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.outcome import Outcome
from altgrad_core.running.session.session import begin, resume
from altgrad_core.running.state.checkpoint import checkpoint_steps

SHORT = """
[run]
name = "short"
seed = 11
steps = 20
checkpoint_every = 3
evaluate_every = 4
evaluate_batches = 2
device = "cpu"

[model]
use = "nanogpt"
n_layer = 1
n_head = 2
n_embd = 8
block_size = 8
dropout = 0.1

[data]
use = "synthetic"
vocabulary = 16
tokens = 400
batch_size = 2
accumulate = 2

[optimizer]
use = "manifold-adamw"
lr = 0.1
clip_norm = 1.0
schedule = { kind = "cosine", warmup = 3 }

[[recipe]]
layers = "blocks.*"
weight = { format = "e5m2" }
activation = { format = "e4m3", scaling = "delayed", history = 4, scale_rounding = "exact" }
gradient = { format = "e5m2", rounding = "stochastic", scaling = "delayed", history = 3 }

[[monitor]]
use = "flips"
every = 3

[[monitor]]
use = "stable-rank"
every = 5

[[intervention]]
use = "widen-stalled"
to = "e3m4"
below = 1.0
patience = 1
"""


def _nothing(record: Record) -> None:
    """Show nobody."""


def interrupt_at(step: int) -> Callable[[Record], None]:
    """Something to show records to that raises SIGTERM, a real one, in the middle of a step."""

    def show(record: Record) -> None:
        if record["kind"] == "step" and record["step"] == step:
            signal.raise_signal(signal.SIGTERM)

    return show


@dataclass
class Runs:
    """Begins and resumes runs of one manifest; `offers` are things that no package offers."""

    folder: Path
    text: str = SHORT
    offers: dict[str, Any] = field(default_factory=dict)

    def manifest(self, *changes: tuple[str, str]) -> Path:
        """The manifest as a file, after replacing text in it."""
        text = self.text
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = self.folder / "short.toml"
        path.write_text(text)
        return path

    def registry(self) -> Registry:
        """Everything installed, and `offers`."""
        from altgrad_core.registry.discover import Offer, Plugin

        offered = tuple(Offer(kind, item.name, item) for kind, items in self.offers.items() for item in items)
        return Registry([*installed().plugins, Plugin("here", "tests", "0", offered)]) if offered else installed()

    def begin(
        self, name: str = "run", *settings: str, show: Any = None, at: int = 0, overwrite: bool = False
    ) -> Outcome:
        """Begin a run in the directory `name`, interrupted in step `at` if that is not 0."""
        resolved = resolve(load_manifest(self.manifest(), settings), self.registry())
        shown = interrupt_at(at) if at else show or _nothing
        return begin(resolved, RunDirectory(self.folder / name), overwrite=overwrite, show=shown)

    def resume(self, name: str = "run", *, show: Any = None, at: int = 0, strict: bool = False) -> Outcome:
        """Continue the run in the directory `name`, interrupted in step `at` if that is not 0."""
        shown = interrupt_at(at) if at else show or _nothing
        return resume(RunDirectory(self.folder / name), self.registry(), strict=strict, show=shown)

    def records(self, name: str = "run") -> list[dict[str, Any]]:
        """The records of a run."""
        return list(RecordReader(self.folder / name / "records.jsonl"))

    def clock(self, name: str = "run") -> list[dict[str, Any]]:
        """The records of a run that depend on the day."""
        return list(RecordReader(self.folder / name / "clock.jsonl"))

    def steps(self, name: str = "run") -> list[int]:
        """The steps of its checkpoints, newest first."""
        return checkpoint_steps(self.folder / name / "checkpoints")

    def result(self, name: str = "run") -> dict[str, bytes]:
        """Everything a run promises to be the same: the records and every file of the newest checkpoint.

        The hash of the manifest is left out, so that manifests can be compared that differ in words alone.
        """
        directory = self.folder / name
        newest = directory / "checkpoints" / f"step-{self.steps(name)[0]}"
        files = {file.name: file.read_bytes() for file in sorted(newest.iterdir()) if file.name != "checkpoint.json"}
        progress = {**json.loads(files["progress.json"]), "manifest_sha256": ""}
        records = (directory / "records.jsonl").read_bytes()
        return {"records.jsonl": records, **files, "progress.json": json.dumps(progress).encode()}


@dataclass
class Process:
    """The command line in a process of its own, whose stderr is read while it runs."""

    arguments: tuple[object, ...]

    def __post_init__(self) -> None:
        command = [sys.executable, "-u", "-m", "altgrad_core.cli.main", *map(str, self.arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.err = ""

    def wait_for(self, text: str) -> None:
        """Read stderr until a line has `text` in it; fails if the process ends before that."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.err += line
            if text in line:
                return
        raise AssertionError(f"the process ended without {text!r}: {self.err}")

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; the exit code, negative for a signal that killed it."""
        _, rest = self._process.communicate(timeout=120)
        self.err += rest
        return self._process.returncode


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """Start the command line in the background: `process("run", manifest)`. What still runs at the end is killed."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        started.append(Process(arguments))
        return started[-1]

    yield start
    for one in started:
        if one._process.poll() is None:
            one.send(signal.SIGKILL)
            one.end()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Runs of the short manifest."""
    return Runs(tmp_path)


@pytest.fixture(scope="module")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs of the short manifest in a folder that the tests of one file share."""
    yield Runs(tmp_path_factory.mktemp("shared"))

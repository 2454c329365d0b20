"""What tests share: a tiny manifest, and the real command line in this process or in one of its own."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
import torch

import altgrad_core
from altgrad_core import Executor, Job
from tests.tiny_tables import TINY_GPT, TINY_TOKENS

if TYPE_CHECKING:
    from altgrad_core import CellTask, Tell
    from tests.forks import Fork

os.environ["OMP_NUM_THREADS"] = "1"  # for processes that tests start; several tests share the cores
os.environ["COLUMNS"] = "200"
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, a shell starts tests that ignore it
os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: its kernels run on tensors of the CPU

TINY_MODEL = TINY_GPT + TINY_TOKENS
TINY = f"""
[run]
name = "tiny"
seed = 3
steps = 6
checkpoint_every = 2
evaluate_every = 3
evaluate_batches = 1

{TINY_MODEL.strip()}

[optimizer]
use = "manifold-adamw"
lr = 0.1

[[recipe]]
layers = "blocks.*"
weight = {{ format = "e4m3" }}
activation = {{ format = "e4m3", scaling = "delayed" }}
gradient = {{ format = "e5m2", rounding = "stochastic" }}

[[monitor]]
use = "flips"
every = 2

[[monitor]]
use = "stable-rank"
every = 3

[[intervention]]
use = "stop-on-nonfinite"

[[intervention]]
use = "stop-on-divergence"
"""


QUICK = TINY.replace("steps = 6", "steps = 8")


@dataclass(frozen=True)
class Said:
    """What a command returned and printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield


@pytest.fixture(scope="session", autouse=True)
def patient_lines() -> Iterator[None]:
    """What takes a moment is told on a pipe after a second: not here, where machines are busy and lines are compared."""
    from altgrad_core.cli import display

    with mock.patch.object(display, "PATIENCE", 300.0):
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A manifest that runs in a second or two."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def obey(*arguments: object) -> Said:
    """Run the command line in this process: `obey("run", path)`."""
    from altgrad_core.cli.main import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["altgrad", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0) if not isinstance(stop.code, str) else 1
    return Said(code, out.getvalue(), err.getvalue())


@pytest.fixture
def altgrad() -> Callable[..., Said]:
    """The command line in this process."""
    return obey


class AtOnce(Executor, Job):
    """Trains a cell in this process while it is submitted: no worker process has to import torch first."""

    capacity = 1

    def submit(self, task: CellTask, tell: Tell) -> Job:
        """Train it."""
        tell(altgrad_core.train_cell(task, tell))
        return self

    def cancel(self, signal: int) -> None:
        """It has ended."""

    def kill(self) -> None:
        """It has ended."""

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def trained_here() -> Iterator[None]:
    """Studies train their cells in this process, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("altgrad_core.experiments.workers.choice.WorkerProcesses", lambda jobs: AtOnce())
        yield


@pytest.fixture
def cells_in_this_process() -> Iterator[None]:
    """Studies train their cells here, where a test is not about processes."""
    with trained_here():
        yield


@pytest.fixture
def altgrad_process() -> Callable[..., Said]:
    """Run the command line in a process of its own."""

    def run(*arguments: object, **options: object) -> Said:
        command = [sys.executable, "-m", "altgrad_core.cli.main", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload]
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of eight steps with checkpoints of the last two, to copy; what it needs is imported and compiled by now."""
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.records.directory import RunDirectory
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.resolve import resolve
    from altgrad_core.running.session.session import begin

    folder = tmp_path_factory.mktemp("finished")
    (folder / "quick.toml").write_text(QUICK)
    resolved = resolve(load_manifest(folder / "quick.toml"), installed())
    begin(resolved, RunDirectory(folder / "run"), overwrite=False, show=lambda record: None)
    return folder / "run"


@pytest.fixture
def unfinished(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run which has lost its last checkpoint and its summary."""
    run = tmp_path / "unfinished"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-8")
    return run


@pytest.fixture
def fork(finished: Path, tmp_path: Path) -> Iterator[Callable[..., Fork]]:
    """Start the command line in a fork: `fork("report", directory)`. What still runs at the end is killed."""
    from tests.forks import Fork

    started: list[Fork] = []
    numbers = itertools.count()

    def start(*arguments: object, before: Callable[[], object] = lambda: None) -> Fork:
        started.append(Fork(arguments, tmp_path / f"said-{next(numbers)}", before))
        return started[-1]

    yield start
    for one in started:
        try:
            if not one.is_over():
                one.end(kill_after=0)
        except ChildProcessError:
            continue  # its end was waited for

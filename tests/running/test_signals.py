"""SIGINT and SIGTERM: the step is finished, the run is saved, and it says how to go on."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.running.loop.signals import Signals
from tests.patience import LONGEST, wait_for

if TYPE_CHECKING:
    from tests.forks import Fork
    from tests.running.conftest import Runs

LONGER = (("steps = 20", "steps = 150"), ("checkpoint_every = 3", "checkpoint_every = 50"))
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SLOW_MODEL = """
import time

import torch


class Slow(torch.nn.Module):
    def __init__(self, vocabulary, seconds):
        super().__init__()
        self.rows, self.seconds = torch.nn.Embedding(vocabulary, vocabulary), seconds

    def forward(self, tokens):
        if self.training:
            until = time.monotonic() + self.seconds
            while time.monotonic() < until:
                time.sleep(until - time.monotonic())
        return self.rows(tokens)


def build(vocabulary, seconds=0.0):
    return Slow(vocabulary, seconds)
"""
SLOW = """
run = { steps = 6, device = "cpu" }
model = { use = "slow_steps:build", seconds = 0.0, block_size = 8 }
data = { use = "synthetic", vocabulary = 16, tokens = 400, batch_size = 2 }
optimizer = { use = "adamw", lr = 0.01 }
"""


@pytest.fixture(scope="module")
def whole(shared_runs: Runs) -> Runs:
    """The run that nobody interrupted, in the directory `whole`."""
    shared_runs.text = shared_runs.manifest(*LONGER).read_text()
    shared_runs.begin("whole")
    return shared_runs


@pytest.mark.parametrize("number", CODES)
def test_interrupted_at_random_times_it_says_how_to_go_on_and_ends_the_same(
    number: signal.Signals, whole: Runs, fork: Callable[..., Fork]
) -> None:
    choose, directory = random.Random(int(number)), whole.folder / number.name
    one = fork("run", whole.manifest(), "--out", directory)
    one.wait_for("step 1/")
    for _ in range(4):
        time.sleep(choose.uniform(0, 0.15))
        one.send(number)
        if one.end() == 0:  # done before the signal came
            break
        assert f"\n{number.name}: finishing this step, then saving; once more to stop at once\n" in one.err
        assert one.err.endswith(f"saved; continue with: altgrad resume {directory}\n")
        assert not (directory / "summary.json").exists()
        one = fork("resume", directory)
        one.wait_for("resumed at step")
    else:
        assert one.end() == 0
    assert any(record["kind"] == "resumed" for record in whole.clock(number.name))
    assert whole.result(number.name) == whole.result("whole")


@pytest.fixture
def slow(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest with steps that take `model.seconds`."""
    (runs.folder / "slow_steps.py").write_text(SLOW_MODEL)
    monkeypatch.syspath_prepend(runs.folder)
    path = runs.folder / "slow.toml"
    path.write_text(SLOW)
    return path


def test_a_signal_in_a_long_step_waits_for_its_end_and_a_second_one_does_not(
    slow: Path, runs: Runs, fork: Callable[..., Fork]
) -> None:
    directory = runs.folder / "run"
    one = fork("run", slow, "--out", directory, "--set", "model.seconds=0.5")
    one.wait_for("step 1/")
    one.send(signal.SIGTERM)
    assert one.end() == 143
    assert runs.steps()[0] in (1, 2)  # in step 2, or so soon that it ended step 1
    twice = fork("run", slow, "--out", runs.folder / "twice", "--set", "model.seconds=600.0")
    wait_for((runs.folder / "twice" / "checkpoints" / "step-0").exists)
    time.sleep(0.2)
    twice.send(signal.SIGINT)
    twice.wait_for("SIGINT: finishing this step")
    twice.send(signal.SIGTERM)
    assert twice.end() == 143  # killed, with another code, if it waits for the end of the step
    assert runs.steps("twice") == [0]


def test_a_signal_while_stderr_is_blocked_is_remembered(runs: Runs) -> None:
    """The main thread is in the middle of a write that cannot end when the signal comes."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write, b"x" * 4096)
    program = f"""
import os, signal, sys, threading
from altgrad_core.running.loop.signals import Signals
threading.Timer(0.5, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)).start()
threading.Timer(1.0, lambda: os.read({read}, 4096)).start()
with Signals() as signals:
    print("y" * 2000, file=sys.stderr, flush=True)
os._exit(signals.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stderr=write, pass_fds=(read, write), timeout=LONGEST, check=False
    )
    os.close(read)
    os.close(write)
    assert done.returncode == 143


def test_the_handlers_of_before_are_put_back() -> None:
    before = [signal.getsignal(number) for number in CODES]
    with Signals() as signals:
        assert [signal.getsignal(number) for number in CODES] != before
    assert [signal.getsignal(number) for number in CODES] == before
    assert signals.received is None


@pytest.mark.parametrize("number", CODES)
def test_the_exit_code_is_128_and_the_number_of_the_signal(number: signal.Signals) -> None:
    with Signals() as signals:
        signal.raise_signal(number)
    assert (signals.received, signals.exit_code) == (number, CODES[number])

"""Kill it whenever you like: resumed until it is done, the run is the one that was never killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.running.conftest import Process, Runs

LONG = (("steps = 20", "steps = 60"), ("checkpoint_every = 3", "checkpoint_every = 2"))
LONGER = (("steps = 20", "steps = 400"), ("checkpoint_every = 3", "checkpoint_every = 5"))


def _killed_in_forks(runs: Runs, *, kills: int, seed: int) -> dict[str, Any]:
    manifest = runs.manifest(*LONG)
    command = [sys.executable, Path(__file__).with_name("kill_forks.py"), manifest, runs.folder / "run", kills, seed]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted


def test_fifty_kills_at_random_times_change_nothing(runs: Runs, record_property: Callable[[str, int], None]) -> None:
    counted = _killed_in_forks(runs, kills=50, seed=1)
    assert (counted["kills"], counted["differences"]) == (50, 0)
    record_property("tried", 50)
    assert counted["runs"] >= 1
    assert counted["fell"]["between"] + counted["fell"]["in a checkpoint"] >= 25


@pytest.mark.slow
def test_five_hundred_kills_at_random_times_change_nothing(
    runs: Runs, record_property: Callable[[str, int], None]
) -> None:
    counted = _killed_in_forks(runs, kills=500, seed=2)
    assert (counted["kills"], counted["differences"]) == (500, 0)
    record_property("tried", 500)
    assert counted["fell"]["in a checkpoint"] >= 20


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_the_command_line_killed_and_resumed_until_it_is_done_leaves_the_same_run(
    kills: int, runs: Runs, process: Callable[..., Process], record_property: Callable[[str, int], None]
) -> None:
    choose, manifest, directory = random.Random(kills), runs.manifest(*LONGER), runs.folder / "run"
    codes = []
    while len(codes) < kills and 0 not in codes:  # 0: a fast machine was done before all the kills
        one = process(*(("resume", directory) if codes else ("run", manifest, "--out", directory)))
        one.wait_for("resumed at step" if codes else "step 1/")
        time.sleep(
            choose.uniform(0, 0.25 + 0.1 * len(codes))
        )  # longer and longer: it gets on, however slow the machine
        one.send(signal.SIGKILL)
        codes.append(one.end())
    assert codes[:3] == [-signal.SIGKILL] * 3
    record_property("tried", len(codes))
    assert process("resume", directory).end() == 0
    assert max(record["step"] for record in runs.clock() if record["kind"] == "resumed") > 0
    runs.text = manifest.read_text()
    runs.begin("whole")
    assert runs.result() == runs.result("whole")

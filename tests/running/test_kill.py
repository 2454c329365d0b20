"""Kill it whenever you like: resumed until it is done, the run is the one that was never killed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.running.kill_forks import killed_in_forks

if TYPE_CHECKING:
    from tests.running.conftest import Process, Runs

LONG = (("steps = 20", "steps = 60"), ("checkpoint_every = 3", "checkpoint_every = 2"))
LONGER = (("steps = 20", "steps = 200"), ("checkpoint_every = 3", "checkpoint_every = 5"))


@pytest.mark.parametrize(
    ("kills", "seed"), [(25, 50), *(pytest.param(100, seed, marks=pytest.mark.slow) for seed in range(5))]
)
def test_kills_at_random_times_change_nothing(
    kills: int, seed: int, runs: Runs, record_property: Callable[[str, int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    counted = killed_in_forks(runs.manifest(*LONG), runs.folder / "run", kills=kills, seed=seed)
    assert (counted.kills, counted.differences, capfd.readouterr().err) == (kills, 0, "")
    record_property("tried", kills)
    assert counted.runs >= 1
    if kills >= 100:  # where so many fall by chance; tests/faults/test_phases.py aims at every phase
        assert counted.fell["between"] + counted.fell["in a checkpoint"] >= kills / 2
        assert counted.fell["in a checkpoint"] >= kills / 25


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_the_command_line_killed_and_resumed_until_it_is_done_leaves_the_same_run(
    kills: int, runs: Runs, process: Callable[..., Process], record_property: Callable[[str, int], None]
) -> None:
    choose, manifest, directory = random.Random(kills), runs.manifest(*LONGER), runs.folder / "run"
    codes = []
    while len(codes) < kills and 0 not in codes:  # 0: a fast machine was done before all the kills
        one = process(*(("resume", directory) if codes else ("run", manifest, "--out", directory)))
        one.wait_for("resumed at step" if codes else "step 1/")
        while not codes and not any(runs.steps()):  # so that the first kill leaves more than the beginning
            time.sleep(0.01)
        time.sleep(
            choose.uniform(0, 0.25 + 0.1 * len(codes))
        )  # longer and longer: it gets on, however slow the machine
        one.send(signal.SIGKILL)
        codes.append(one.end())
    assert codes[:2] == [-signal.SIGKILL] * 2
    record_property("tried", len(codes))
    assert process("resume", directory).end() == 0
    assert max(record["step"] for record in runs.clock() if record["kind"] == "resumed") > 0
    runs.text = manifest.read_text()
    runs.begin("whole")
    assert runs.result() == runs.result("whole")

"""`altgrad run --processes N`: the same run, an end for all when one ends, and messages that say what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core import __version__
from altgrad_core.manifest.load import load_manifest
from altgrad_core.running.parallel.launch import launch
from altgrad_core.running.parallel.parent import PARENT, lifeline
from tests.patience import LONGEST, wait_for
from tests.running.conftest import Process

if TYPE_CHECKING:
    from tests.conftest import Said

FOUR = ("--set", "data.accumulate=4")


def children_of(parent: int) -> list[int]:
    """The process numbers of its children, oldest first."""
    said = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return sorted(map(int, said.stdout.split()))


def test_every_process_gets_the_command_and_the_first_one_the_terminal(
    tiny: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = load_manifest(tiny, ["data.accumulate=2"])
    assert launch(["--version"], 2, source) == 0
    assert capfd.readouterr().out.splitlines() == [f"altgrad {__version__}"]
    assert launch(["no-such-command"], 2, source) == 2


@pytest.mark.slow
def test_two_processes_write_what_one_writes(
    altgrad_process: Callable[..., Said], altgrad: Callable[..., Said], tiny: Path
) -> None:
    alone, two = tiny.with_name("alone"), tiny.with_name("two")
    assert altgrad("run", tiny, *FOUR, "--out", alone).code == 0
    said = altgrad_process("run", tiny, *FOUR, "--processes", 2, "--out", two)
    assert said.code == 0, said.err
    assert (two / "records.jsonl").read_bytes() == (alone / "records.jsonl").read_bytes()
    assert said.out.count("validation loss") == 1  # the first process alone has the terminal


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_all_and_the_run_can_be_resumed(victim: int, tiny: Path) -> None:
    out, steps = tiny.with_name("run"), ("--steps", 4000, "--set", "run.checkpoint_every=10")
    one = Process(("run", tiny, *FOUR, *steps, "--processes", 2, "--out", out))
    wait_for((out / "checkpoints" / "step-20").exists)
    os.kill(children_of(one._process.pid)[victim], signal.SIGKILL)
    assert one.end() == (137 if victim == 0 else 1)
    assert f"process {victim} of 2 ended first, with signal SIGKILL" in one.err
    resumed = Process(("resume", out))
    resumed.wait_for("resumed at step")
    resumed.send(signal.SIGTERM)
    assert resumed.end() == 143


def test_a_process_ends_with_its_parent() -> None:
    code = (
        "import time; from altgrad_core.running.parallel.parent import *; end_with_parent(); print(); time.sleep(600)"
    )
    with lifeline() as line:
        child = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, PARENT: str(line)}, pass_fds=[line], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        assert child.poll() is None
    child.stdout.close()
    assert child.wait(LONGEST) == -signal.SIGTERM


@pytest.mark.slow
def test_the_processes_of_a_launcher_that_is_killed_save_and_end(tiny: Path) -> None:
    out, steps = tiny.with_name("run"), ("--steps", 4000, "--set", "run.checkpoint_every=10")
    launcher = Process(("run", tiny, *FOUR, *steps, "--processes", 2, "--out", out))
    wait_for((out / "checkpoints" / "step-20").exists)
    children = children_of(launcher._process.pid)
    assert len(children) == 2
    launcher.send(signal.SIGKILL)
    launcher.end()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    resumed = Process(("resume", out))
    resumed.wait_for("resumed at step")
    resumed.send(signal.SIGTERM)
    assert resumed.end() == 143

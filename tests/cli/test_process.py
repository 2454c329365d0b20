"""The program as a process: how it is started, interrupted, and cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import altgrad_core
from tests.patience import LONGEST, wait_for


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "altgrad_core", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_the_package_is_a_program() -> None:
    out, err = start("--version").communicate(timeout=LONGEST)
    assert (out, err) == (f"altgrad {altgrad_core.__version__}\n", "")


LOADING = """
import os, signal, sys, time
from importlib.abc import MetaPathFinder

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "MODULE":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests without
from altgrad_core.__main__ import main
sys.meta_path.insert(0, Interrupt())
sys.argv = ["altgrad", "list-plugins"]
main()
"""


@pytest.mark.parametrize("module", ["gc", "altgrad_core.cli.main", "typer", "altgrad_core.errors"])
def test_an_interrupt_while_the_program_is_loaded_ends_it_without_a_word(module: str) -> None:
    code = LOADING.replace("MODULE", module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LONGEST)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


BEFORE = """
import sys
before = set(sys.modules)
import altgrad_core.__main__
print(*sorted(set(sys.modules) - before))
"""


def test_nothing_is_loaded_before_the_program_can_be_interrupted() -> None:
    done = subprocess.run([sys.executable, "-c", BEFORE], capture_output=True, text=True, check=True, timeout=LONGEST)
    assert done.stdout.split() == ["altgrad_core", "altgrad_core.__main__"]


@pytest.mark.parametrize(
    "command", [["list-plugins"], ["list-plugins", "--json"], ["show", "e4m3"], ["schema"], ["--help"]]
)
def test_a_reader_that_goes_away_is_no_reason_for_a_word(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "altgrad_core", *command],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=LONGEST,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_interrupt_says_that_the_run_is_saved_and_how_to_continue(tiny: Path) -> None:
    run = tiny.parent / "run"
    process = start("run", str(tiny), "--out", str(run), "--set", "run.steps=100000")
    records = run / "records.jsonl"
    wait_for(lambda: records.exists() and b'"step":3,' in records.read_bytes())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 130
    assert "SIGINT: finishing this step, then saving; once more to stop at once\n" in err
    assert err.endswith(f"saved; continue with: altgrad resume {run}\n")

"""Workers that are killed, interrupted or deaf to signals, and commands that share a study."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.experiments.workers.board import Board
from altgrad_core.results.lines import RecordReader
from tests.experiments.commands import cells_of, children, is_alive, start, truth, written
from tests.patience import LONGEST, wait_for

if TYPE_CHECKING:
    from tests.conftest import Said


NOISY = """
import os
from altgrad_nanogpt import NanoGPT

def build(vocabulary, n_embd, block_size):
    os.write(2, b"d\\xe9j\\xe0 vu, for ever \\n" * 20_000)
    return NanoGPT(n_layer=1, n_head=2, n_embd=n_embd, block_size=block_size).build(vocabulary)
"""


DEAF = """
import os, signal, time
from torch import nn
from altgrad_nanogpt import NanoGPT

class Deaf(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        if self.training:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            open(os.environ["DEAF"], "w").close()
            time.sleep(1000)
        return self.model(tokens)

def build(vocabulary, n_embd, block_size):
    return Deaf(NanoGPT(n_layer=1, n_head=2, n_embd=n_embd, block_size=block_size).build(vocabulary))
"""


def study_of(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Path:
    """A study of one cell whose model is made by `code`."""
    (folder / "strange.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "strange", raising=False)
    path = written(folder, "[matrix]\nrun.seed = [1]\n")
    before, _, after = path.read_text().partition("[model]")
    data = after.partition("[data]")[2].partition("[[recipe]]")[0]
    model = '[model]\nuse = "strange:build"\nn_embd = 16\nblock_size = 16\n'
    path.write_text(f"{before}{model}[data]{data}[matrix]\nrun.seed = [1]\n")
    return path


def test_bytes_that_are_no_text_do_not_hold_up_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altgrad: Callable[..., Said]
) -> None:
    study = study_of(tmp_path, monkeypatch, NOISY)
    told = altgrad("run", study, "--out", tmp_path / "out")
    assert told.code == 0
    assert told.err.count("warning: d\ufffdj\ufffd vu, for ever\n") == 1


def test_a_cell_that_does_not_hear_a_signal_is_killed_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altgrad: Callable[..., Said]
) -> None:
    study = study_of(tmp_path, monkeypatch, DEAF)
    monkeypatch.setattr("altgrad_core.contracts.executor.Executor.patience", 0.5)

    is_deaf = tmp_path / "deaf"
    monkeypatch.setenv("DEAF", str(is_deaf))

    def send_when_it_is_deaf() -> None:
        wait_for(is_deaf.exists)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send_when_it_is_deaf)
    sender.start()
    told = altgrad("run", study, "--out", tmp_path / "out")
    sender.join()
    (cell,) = cells_of(tmp_path / "out")
    said = "its process did not end within 0.5 s of the signal and is killed; what it saved is kept"
    assert told.code == 143
    assert f"{cell['name']}: {said}\n" in told.err


@pytest.mark.usefixtures("cells_in_this_process")  # the interrupted ones are trained by worker processes
def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    study, out, whole = written(tmp_path, "[matrix]\nrun.seed = [1, 2]\n"), tmp_path / "out", tmp_path / "whole"
    more = ("--set", "run.steps=60", "--set", "run.checkpoint_every=50")
    process = start("run", study, "--out", out, *more)
    wait_for(lambda: any(b'"step":9,' in path.read_bytes() for path in out.glob("*/records.jsonl")))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 143
    assert err.endswith(f"saved; continue with: altgrad run {study} --out {out} {' '.join(more)}\n")
    assert altgrad("run", study, "--out", out, *more).code == 0
    for cell in cells_of(out):
        assert altgrad("run", out / cell["name"] / "resolved.toml", "--out", whole / cell["name"]).code == 0
        assert truth(out / cell["name"])[0] == truth(whole / cell["name"])[0]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = start("run", written(tmp_path), "--out", tmp_path / "out", "--set", "run.steps=100000")
    wait_for(lambda: any(path.stat().st_size > 2000 for path in (tmp_path / "out").glob("*/records.jsonl")))
    workers = children(process.pid)
    assert workers
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(child) for child in workers))
    assert list((tmp_path / "out").glob("*/checkpoints/step-*/checkpoint.json"))


@pytest.mark.slow
def test_four_commands_and_many_kills_finish_each_of_24_cells_once(
    tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    study, out, chance = written(tmp_path), tmp_path / "out", random.Random(5)
    study.write_text(study.read_text().replace("run.seed = [1, 2]", f"run.seed = {list(range(12))}"))
    commands = [start("run", study, "--out", out, "--set", "run.steps=40") for _ in range(4)]
    record_property("tried", 12)
    for _ in range(12):
        time.sleep(chance.uniform(0.5, 2.0))
        workers = [child for command in commands if command.poll() is None for child in children(command.pid)]
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
    for command in commands:
        command.communicate(timeout=300)
    last = start("run", study, "--out", out, "--set", "run.steps=40")
    last.communicate(timeout=300)
    assert last.returncode == 0
    for cell in cells_of(out):
        kinds = [record["kind"] for record in RecordReader(out / cell["name"] / "records.jsonl")]
        assert (kinds.count("began"), kinds.count("ended"), kinds.count("step")) == (1, 1, 40)


def test_the_board_tells_the_time_left_by_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    board = Board(left=300)
    cell: Any = type("Cell", (), {"steps": 100})
    board.began(0, cell)
    assert board.seconds_left() is None
    board.stepped(0, step=1, loss="-")
    now[0] += 10
    board.stepped(0, step=51, loss="-")
    assert board.seconds_left() == pytest.approx((300 + 49) * 10 / 50)

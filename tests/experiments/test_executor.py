"""Cells trained by worker processes: the same bits as alone, whatever is killed, and each exactly once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.experiments.workers.board import Board
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.state.checkpoint import checkpoint_steps, read_checkpoint
from tests.conftest import TINY

if TYPE_CHECKING:
    from tests.conftest import Said

FOUR = "[matrix]\n'recipe[0].weight.format' = ['e5m2', 'e3m4']\nrun.seed = [1, 2]\n"
FAILING = '''
"""A model that cannot be built where it is 24 wide, and dies where it is 32."""
import os
from altgrad_nanogpt import NanoGPT

def build(vocabulary, n_embd, block_size):
    if n_embd == 24:
        raise ValueError("24 is unlucky")
    if n_embd == 32:
        os._exit(9)
    return NanoGPT(n_layer=1, n_head=2, n_embd=n_embd, block_size=block_size).build(vocabulary)
'''


def written(folder: Path, matrix: str = FOUR) -> Path:
    """A study of tiny runs."""
    path = folder / "study.toml"
    path.write_text(TINY.replace('name = "tiny"\n', "").replace("seed = 3\n", "") + matrix)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A manifest, the directory of its finished study, and what the command said."""
    folder = tmp_path_factory.mktemp("finished")
    process = start("run", written(folder), "--out", folder / "out", "--jobs", "2", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return folder / "study.toml", folder / "out", out


def cells_of(out: Path) -> list[dict[str, Any]]:
    return list(json.loads((out / "cells.json").read_text())["cells"])


def truth(run: Path) -> tuple[bytes, dict[str, bytes]]:
    """The records of a run, and its last checkpoint, but for the names in them."""
    records = [{**record, "name": ""} for record in RecordReader(run / "records.jsonl")]
    newest = checkpoint_steps(run / "checkpoints")[0]
    return json.dumps(records).encode(), read_checkpoint(run / "checkpoints" / f"step-{newest}")


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "altgrad_core.cli.main", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_every_cell_is_trained_as_its_manifest_alone_would_be(
    finished: tuple[Path, Path, str], tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    _, out, said = finished
    assert json.loads(said)["ended"] == {"finished": 4}
    for cell in cells_of(out):
        directory, alone = out / cell["name"], tmp_path / cell["name"]
        assert altgrad("run", directory / "resolved.toml", "--out", alone).code == 0
        (records, files), (others, more) = truth(directory), truth(alone)
        assert records == others
        assert {n: f for n, f in files.items() if n != "progress.json"} == {
            n: f for n, f in more.items() if n != "progress.json"
        }
        assert checkpoint_steps(directory / "checkpoints") == [6]


def test_a_second_command_finds_nothing_left_to_do(
    finished: tuple[Path, Path, str], altgrad: Callable[..., Said]
) -> None:
    manifest, out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/records.jsonl")}
    again = altgrad("run", manifest, "--out", out)
    assert (again.code, again.err) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/records.jsonl")} == before


def test_a_directory_holds_one_study_or_one_run(
    finished: tuple[Path, Path, str], tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    manifest, out, _ = finished
    told = altgrad("run", manifest, "--out", out, "--set", "run.name=other")
    assert (told.code, told.err) == (
        2,
        f'altgrad: {out}: the study "study" is here, and this one is "other"; choose another directory with --out, '
        "or pass --overwrite\n",
    )
    told = altgrad("run", tiny, "--out", out)
    assert (told.code, told.err) == (
        2,
        f"altgrad: {out}: a study of many runs is here; choose another directory with --out\n",
    )
    told = altgrad("run", manifest, "--out", next(out.glob("e5m2-*")))
    assert told.code == 2 and told.err.endswith(": a single run is here; choose another directory with --out\n")
    told = altgrad("resume", out)
    assert told.code == 2 and f"{out}: is a study of many runs; continue it with: altgrad run MANIFEST" in told.err


def test_overwriting_trains_what_is_there_anew(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    one, out = written(tmp_path, "[matrix]\nrun.seed = [1]\n"), tmp_path / "out"
    for _ in range(2):
        assert altgrad("run", one, "--out", out, "--overwrite").code == 0
    (cell,) = cells_of(out)
    kinds = [record["kind"] for record in RecordReader(out / cell["name"] / "clock.jsonl")]
    assert kinds.count("resumed") == 0 and (out / cell["name"] / "summary.json").exists()


def test_cells_that_fail_are_tried_twice_and_listed_and_the_others_finish(
    study: Path, tmp_path: Path, altgrad_process: Callable[..., Said]
) -> None:
    (tmp_path / "unlucky.py").write_text(FAILING)
    text = study.read_text().partition("[model]")
    model = '[model]\nuse = "unlucky:build"\nn_embd = 16\nblock_size = 16\n'
    study.write_text(
        text[0]
        + model
        + "[data]"
        + text[2]
        .partition("[data]")[2]
        .replace("'recipe[0].weight.format' = ['e5m2', 'e3m4']\nrun.seed = [1, 2]", "model.n_embd = [16, 24, 32, 8]")
    )
    told = altgrad_process("run", study, "--out", tmp_path / "out", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    names = {cell["point"]["model.n_embd"]: cell["name"] for cell in cells_of(tmp_path / "out")}
    assert told.code == 3
    assert told.out.startswith("study: 4 cells: 2 finished, 2 failed\n")
    lines = told.err.splitlines()
    unlucky, dead = "24 is unlucky", "its process ended without a word: out of memory, or killed"
    assert f"{names[24]}: failed, and is tried once more: " in told.err and told.err.count(unlucky) >= 2
    assert f"failed: {names[32]}: {dead}" in lines
    assert not (tmp_path / "out" / names[32] / "summary.json").exists()


NOISY = """
import os
from altgrad_nanogpt import NanoGPT

def build(vocabulary, n_embd, block_size):
    os.write(2, b"d\\xe9j\\xe0 vu, for ever \\n" * 20_000)
    return NanoGPT(n_layer=1, n_head=2, n_embd=n_embd, block_size=block_size).build(vocabulary)
"""
DEAF = """
import signal, time
from torch import nn
from altgrad_nanogpt import NanoGPT

class Deaf(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        if self.training:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            print("deaf", flush=True)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altgrad_process: Callable[..., Said]
) -> None:
    study = study_of(tmp_path, monkeypatch, NOISY)
    told = altgrad_process("run", study, "--out", tmp_path / "out")
    assert told.code == 0
    assert told.err.count("warning: d\ufffdj\ufffd vu, for ever\n") == 1


def test_a_cell_that_does_not_hear_a_signal_is_killed_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altgrad: Callable[..., Said]
) -> None:
    study = study_of(tmp_path, monkeypatch, DEAF)
    monkeypatch.setattr("altgrad_core.contracts.executor.Executor.patience", 0.5)

    def send_when_it_is_deaf() -> None:
        wait_for(lambda: any(path.stat().st_size for path in (tmp_path / "out").glob("*/records.jsonl")))
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send_when_it_is_deaf)
    sender.start()
    told = altgrad("run", study, "--out", tmp_path / "out")
    sender.join()
    (cell,) = cells_of(tmp_path / "out")
    said = "its process did not end within 0.5 s of the signal and is killed; what it saved before is kept"
    assert told.code == 143
    assert f"{cell['name']}: {said}\n" in told.err


def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    study, out, whole = written(tmp_path, "[matrix]\nrun.seed = [1, 2]\n"), tmp_path / "out", tmp_path / "whole"
    more = ("--set", "run.steps=60", "--set", "run.checkpoint_every=50")
    process = start("run", study, "--out", out, *more)
    wait_for(lambda: any(b'"step":9,' in path.read_bytes() for path in out.glob("*/records.jsonl")))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.endswith(f"saved; continue with: altgrad run {study} --out {out} {' '.join(more)}\n")
    assert altgrad("run", study, "--out", out, *more).code == 0
    for cell in cells_of(out):
        assert altgrad("run", out / cell["name"] / "resolved.toml", "--out", whole / cell["name"]).code == 0
        assert truth(out / cell["name"])[0] == truth(whole / cell["name"])[0]


def test_workers_end_when_their_parent_is_killed(study: Path, tmp_path: Path) -> None:
    process = start("run", study, "--out", tmp_path / "out", "--set", "run.steps=100000")
    wait_for(lambda: any(path.stat().st_size > 2000 for path in (tmp_path / "out").glob("*/records.jsonl")))
    children = _children(process.pid)
    assert children
    process.kill()
    process.wait()
    wait_for(lambda: not any(_is_alive(child) for child in children), seconds=20)
    assert list((tmp_path / "out").glob("*/checkpoints/step-*/checkpoint.json"))


@pytest.mark.slow
def test_four_commands_and_many_kills_finish_each_of_24_cells_once(
    study: Path, tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    out, chance = tmp_path / "out", random.Random(5)
    study.write_text(study.read_text().replace("run.seed = [1, 2]", f"run.seed = {list(range(12))}"))
    commands = [start("run", study, "--out", out, "--set", "run.steps=40") for _ in range(4)]
    record_property("tried", 12)
    for _ in range(12):
        time.sleep(chance.uniform(0.5, 2.0))
        workers = [child for command in commands if command.poll() is None for child in _children(command.pid)]
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


def _children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"

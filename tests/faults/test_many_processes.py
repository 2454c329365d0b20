"""Several commands and several processes at once, killed as they work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.results.lines import RecordReader
from altgrad_core.running.state.checkpoint import checkpoint_steps, read_checkpoint
from tests.conftest import TINY
from tests.experiments.commands import cells_of, children, start, written
from tests.patience import wait_for

if TYPE_CHECKING:
    from tests.conftest import Said

pytestmark = pytest.mark.slow
STEPS = ("--set", "run.steps=40")


@pytest.mark.parametrize(("commands", "jobs", "kills"), [(2, 4, 20), (3, 1, 20)])
def test_commands_on_one_study_that_are_killed_finish_each_cell_once(
    commands: int, jobs: int, kills: int, tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    study, out, chance = (
        written(tmp_path, f"[matrix]\nrun.seed = {list(range(12))}\n"),
        tmp_path / "out",
        random.Random(jobs),
    )
    command = ("run", study, "--out", out, "--jobs", jobs, *STEPS)
    running = [start(*command) for _ in range(commands)]
    for kill in range(kills):
        time.sleep(chance.uniform(0.5, 2.0))
        alive = [one for one in running if one.poll() is None]
        victims = (
            [one.pid for one in alive] if kill % 4 == 3 else [child for one in alive for child in children(one.pid)]
        )
        if victims:
            os.kill(chance.choice(victims), signal.SIGKILL)
        running = [one if one.poll() is None else start(*command) for one in running]
    for one in running:
        one.communicate(timeout=400)
    last = start(*command)
    last.communicate(timeout=400)
    assert last.returncode == 0
    for cell in cells_of(out):
        kinds = [record["kind"] for record in RecordReader(out / cell["name"] / "records.jsonl")]
        assert (kinds.count("began"), kinds.count("ended"), kinds.count("step")) == (1, 1, 40)
    record_property("tried", kills)


def test_more_jobs_than_cores_finish_every_cell(tmp_path: Path, altgrad_process: Callable[..., Said]) -> None:
    study, out = written(tmp_path, f"[matrix]\nrun.seed = {list(range(10))}\n"), tmp_path / "out"
    told = altgrad_process("run", study, "--out", out, "--jobs", 8)
    assert told.code == 0, told.err
    assert all((out / cell["name"] / "summary.json").exists() for cell in cells_of(out))


def test_a_run_of_two_processes_killed_until_it_is_done_is_the_same(
    tmp_path: Path, altgrad: Callable[..., Said], record_property: Callable[[str, int], None]
) -> None:
    manifest, run, whole, chance = tmp_path / "tiny.toml", tmp_path / "run", tmp_path / "whole", random.Random(7)
    manifest.write_text(TINY.replace("steps = 6", "steps = 400").replace("[data]", "[data]\naccumulate = 2"))
    assert altgrad("run", manifest, "--out", whole).code == 0
    kills = 0
    while kills < 12 and not (run / "summary.json").exists():
        begun = checkpoint_steps(run / "checkpoints")
        one = start(*(("resume", run) if begun else ("run", manifest, "--out", run, "--overwrite")), "--processes", 2)
        wait_for(partial(_has_moved, one, run, begun))
        time.sleep(chance.uniform(0, 0.3))
        victims = [one.pid, *children(one.pid)]
        os.kill(victims[kills % len(victims)], signal.SIGKILL)
        kills += 1
        one.communicate(timeout=120)
        wait_for(lambda: _is_free(run))
    if not (run / "summary.json").exists():
        assert altgrad("resume", run).code == 0
    assert (run / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    ends = [read_checkpoint(one / "checkpoints" / "step-400") for one in (run, whole)]
    assert ends[0]["model.safetensors"] == ends[1]["model.safetensors"]
    record_property("tried", kills)


def _has_moved(command: subprocess.Popen[str], run: Path, begun: list[int]) -> bool:
    """Whether a command has written a checkpoint, or ended."""
    return command.poll() is not None or checkpoint_steps(run / "checkpoints") != begun


def _is_free(run: Path) -> bool:
    """Whether the processes of a killed launcher have saved and ended."""
    from altgrad_core.records.directory import DirectoryInUse, RunDirectory

    try:
        with RunDirectory(run):
            return True
    except DirectoryInUse:
        return False

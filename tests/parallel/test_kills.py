"""A run whose processes are killed at random goes on with another number of processes, and ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.parallel.processes import ALONE, Processes
from altgrad_core.running.session.session import begin, resume
from tests.parallel.test_equal_bits import MANIFEST, WALK, result, trained
from tests.parallel.together import together

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_is_killed_goes_on_with_another_number_of_processes(size: int, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    whole = result(trained(tmp_path, "whole", size=1))
    path, place, sizes = tmp_path / "together.toml", RunDirectory(tmp_path / "run"), [1, 2, 4]
    path.write_text(MANIFEST.replace("OPTIMIZER", WALK))
    last = chance.randint(3, 5)

    def train(processes: Processes) -> int:
        everyone = processes.gather(os.getpid())

        def kill_one(record: Record) -> None:
            if record["kind"] == "step" and record["step"] == last:
                os.kill(everyone[victim], signal.SIGKILL)

        if not place.is_begun:
            resolved = resolve(load_manifest(path), installed())
            return begin(resolved, place, overwrite=False, show=kill_one, processes=processes).exit_code
        return resume(place, installed(), strict=False, show=kill_one, processes=processes).exit_code

    for _ in range(2):
        victim = chance.randrange(size)
        assert together(size, tmp_path, train)[victim] == -signal.SIGKILL
        last, size = last + 2, chance.choice([other for other in sizes[1:] if other != size])
    last, size = -1, chance.choice([other for other in sizes if other != size])
    assert (together(size, tmp_path, train) if size > 1 else [train(ALONE)]) == [0] * size
    assert result(place.path) == whole

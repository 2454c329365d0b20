"""Cells as jobs of submitit, which runs them as processes of this machine here."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.registry.registry import installed
from altgrad_core.testing import check_executor
from tests.experiments.commands import start, truth, written
from tests.patience import LONGEST, wait_for

if TYPE_CHECKING:
    from tests.conftest import Said

pytest.importorskip("submitit")
TWO = "[matrix]\nrun.seed = [1, 2]\n"
HERE = ("--executor", "slurm", "--set", 'executor.cluster="local"', "--jobs", 2)


def test_a_machine_without_slurm_says_so_before_anything_is_written(
    tmp_path: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    told = altgrad("run", written(tmp_path), "--executor", "slurm", "--out", tmp_path / "out")
    assert told.code == 2
    assert 'executor "slurm": this machine has no srun; run this on one that submits jobs' in told.err
    assert not (tmp_path / "out").exists() and not (tmp_path / "slurm").exists()


@pytest.mark.slow
def test_slurm_keeps_the_laws_of_executors(tmp_path: Path) -> None:
    check_executor(installed().get("executor", "slurm"), cluster="local", folder=tmp_path)


@pytest.mark.slow
def test_a_study_in_jobs_can_be_interrupted_and_ends_with_the_same_records(
    tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    study, out = written(tmp_path, TWO), tmp_path / "out"
    more = ("--set", "run.threads=1", "--set", "run.steps=100", "--set", "run.checkpoint_every=20")
    process = start("run", study, *HERE, *more, "--out", out)
    wait_for(lambda: len([path for path in out.glob("*/records.jsonl") if path.stat().st_size > 2000]) == 2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LONGEST)
    assert (process.returncode, "saved; continue with" in err) == (143, True)
    told = altgrad("run", study, *HERE, *more, "--out", out)
    assert told.code == 0, told.err
    assert altgrad("run", study, *more, "--out", tmp_path / "own").code == 0
    for cell in (path.parent.name for path in out.glob("*/summary.json")):
        assert truth(out / cell) == truth(tmp_path / "own" / cell)

"""A disk that is really full: a file system of a few kilobytes in memory, under everything that is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from altgrad_text import cache

from tests.conftest import QUICK, TINY
from tests.forks import files_in

if TYPE_CHECKING:
    from tests.forks import Fork

Start = Callable[..., "Fork"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with room for 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=20)


@pytest.mark.parametrize(
    "command",
    [
        ("report", "{run}", "--out", "{disk}/report"),
        ("export", "{run}", "--out", "{disk}/model.safetensors"),
        ("run", "{manifest}", "--out", "{disk}/run"),
        ("track", "{disk}/copy", "--to", "tensorboard"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_on_a_full_disk_says_so(
    command: tuple[str, ...], disk: Path, finished: Path, tmp_path: Path, fork: Start
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    if command[0] == "track":
        shutil.copytree(finished, disk / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    filled = 16_000 if command[0] == "run" else os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    (disk / "other").write_bytes(b"x" * filled)
    before = files_in(finished)
    one = fork(*(word.format(run=finished, disk=disk, manifest=tmp_path / "tiny.toml") for word in command))
    assert one.end() == 1, one.text()
    told = "MB free, but 3 checkpoints need about" if command[0] == "run" else "No space left on device"
    assert told in one.text() and "Traceback" not in one.text(), one.text()
    assert str(disk) in one.text(), one.text()
    assert files_in(finished) == before and (disk / "other").stat().st_size == filled


def test_tokens_that_do_not_fit_cost_a_warning(
    disk: Path, fork: Start, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", str(disk))
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0.0)
    tokens = np.arange(100_000, dtype=np.uint32)

    def keep() -> None:
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message)
        assert cache.kept("a", lambda: cache.Encoded(tokens, {})).tokens.tolist() == tokens.tolist()

    one = fork("--version", before=keep)
    assert (one.end(), "No space left on device" in one.text()) == (0, True), one.text()
    assert files_in(disk) == {}


@pytest.mark.slow
def test_kernels_that_cannot_be_kept_are_used_all_the_same(disk: Path, tmp_path: Path) -> None:
    (disk / "other").write_bytes(b"x" * 40_000)
    (tmp_path / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "altgrad_core", "run", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        command,
        env={**os.environ, "NUMBA_CACHE_DIR": str(disk)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("are not kept") == 1, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "track"])
def test_a_disk_that_is_full_under_wandb_does_not_touch_the_run(
    command: str, disk: Path, finished: Path, tmp_path: Path, fork: Start
) -> None:
    """The real wandb, offline: its files are on the full disk, by a link that stands where its folder would be made."""
    pytest.importorskip("wandb")
    run = tmp_path / "run"
    (tmp_path / "tiny.toml").write_text(QUICK + '[[tracker]]\nuse = "wandb"\nmode = "offline"\npatience = 20\n')
    if command == "track":
        shutil.copytree(finished, run)
    run.mkdir(exist_ok=True)
    (disk / "other").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
    (run / "wandb").symlink_to(disk)
    words = (
        ("track", run, "--to", "wandb", "--set", "mode=offline")
        if command == "track"
        else ("run", tmp_path / "tiny.toml", "--out", run)
    )
    one = fork(*words, before=lambda: os.environ.update(WANDB_ERROR_REPORTING="false"))
    code = one.end()
    assert "Traceback" not in one.text(), one.text()
    assert code == (0 if command == "run" else 1), one.text()
    assert "wandb" in one.text(), one.text()  # it is told that something of it was lost
    assert (run / "records.jsonl").read_bytes() == (finished / "records.jsonl").read_bytes()

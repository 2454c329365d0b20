"""Trains in forks of this process and kills each at a random time, until the run is done.

Importing torch takes seconds and a fork takes none, so hundreds of kills take a minute.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.session import begin, resume
from altgrad_core.running.state.checkpoint import checkpoint_steps

LONGEST_ATTEMPT = 60.0
LONGEST_LIFE = 0.2  # seconds, at least; assembling the run takes about a third of it


def attempt(manifest: Path, directory: Path) -> None:
    """Begin the run, or continue it where one is."""
    run = RunDirectory(directory)
    if run.is_begun:
        resume(run, installed(), strict=True, show=lambda record: None)
    else:
        begin(resolve(load_manifest(manifest), installed()), run, overwrite=False, show=lambda record: None)


def in_a_fork(manifest: Path, directory: Path, kill_after: float | None) -> bool:
    """Whether an attempt in a process of its own came to its end; killed after so many seconds."""
    child = os.fork()
    if child == 0:
        try:
            attempt(manifest, directory)
            os._exit(0)
        except BaseException as error:
            print(f"attempt failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    deadline = time.monotonic() + (LONGEST_ATTEMPT if kill_after is None else kill_after)
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def where(directory: Path) -> str:
    """What the last kill left behind, in a word."""
    checkpoints = directory / "checkpoints"
    if not (directory / "resolved.toml").exists():
        return "before the run had begun"
    if any(checkpoints.glob("*.tmp")):
        return "in a checkpoint"
    if not checkpoint_steps(checkpoints):
        return "before the first checkpoint"
    raw = (directory / "records.jsonl").read_bytes()
    return "in a record" if not raw.endswith(b"\n") else "between"


def outcome(directory: Path) -> dict[str, bytes]:
    """The records and every file of the newest checkpoint."""
    newest = directory / "checkpoints" / f"step-{checkpoint_steps(directory / 'checkpoints')[0]}"
    files = {file.name: file.read_bytes() for file in newest.iterdir()}
    return {**files, "records.jsonl": (directory / "records.jsonl").read_bytes()}


@dataclass
class Counted:
    """What came of it: kills, runs that were finished, how many of them differ, and where the kills fell."""

    kills: int = 0
    runs: int = 0
    differences: int = 0
    fell: Counter[str] = field(default_factory=Counter)


def killed_in_forks(manifest: Path, directory: Path, *, kills: int, seed: int) -> Counted:
    """Kill until there were enough kills and the last run is finished; compare every finished run with a whole one."""
    torch.set_num_threads(1)
    choose, counted = random.Random(seed), Counted()
    whole = directory.with_name("whole")
    attempt(manifest, directory.with_name("warm"))  # everything is imported and compiled before the first fork
    started = time.monotonic()
    attempt(manifest, whole)
    longest = max(LONGEST_LIFE, (time.monotonic() - started) / 3)
    expected = outcome(whole)

    def compare() -> None:
        counted.runs += 1
        counted.differences += outcome(directory) != expected

    while counted.kills < kills or not (directory / "summary.json").exists():
        if (directory / "summary.json").exists():
            compare()
            shutil.rmtree(directory)
        if not in_a_fork(manifest, directory, choose.uniform(0.01, longest) if counted.kills < kills else None):
            counted.kills += 1
            counted.fell[where(directory)] += 1
    compare()
    return counted

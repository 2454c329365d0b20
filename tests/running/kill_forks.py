"""A process that trains in forks of itself and kills each at a random time, until the run is done.

    python kill_forks.py MANIFEST RUN_DIR KILLS SEED

Importing torch takes seconds and a fork takes none, so hundreds of kills take a minute. Nothing is imported by
tests; they start it. Prints one line of JSON: kills, runs finished, and where the kills fell.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import torch

from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.registry.registry import installed
from altgrad_core.results.lines import RecordReader
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


def main() -> None:
    """Kill until there were enough kills and the last run is finished; compare every finished run with a whole one."""
    manifest, directory, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    choose, fell, finished, differences, killed = random.Random(seed), Counter[str](), 0, 0, 0
    whole = directory.with_name("whole")
    attempt(manifest, directory.with_name("warm"))  # everything is imported and compiled before the first fork
    started = time.monotonic()
    attempt(manifest, whole)
    longest = max(LONGEST_LIFE, (time.monotonic() - started) / 3)
    expected = outcome(whole)
    while killed < kills or not (directory / "summary.json").exists():
        if (directory / "summary.json").exists():
            finished += 1
            differences += outcome(directory) != expected
            shutil.rmtree(directory)
        if not in_a_fork(manifest, directory, choose.uniform(0.01, longest) if killed < kills else None):
            killed += 1
            fell[where(directory)] += 1
    finished += 1
    differences += outcome(directory) != expected
    resumed = sum(record["kind"] == "resumed" for record in RecordReader(directory / "clock.jsonl"))
    print(json.dumps({"kills": killed, "runs": finished, "differences": differences, "fell": fell, "resumed": resumed}))


if __name__ == "__main__":
    main()

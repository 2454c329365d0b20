"""Several processes and one run: how they meet, and what those other than the first do."""

from __future__ import annotations

import hashlib

import torch

from altgrad_core.records.record import Record
from altgrad_core.running.assembly.environment import describe_environment
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.assembly.run import Progress, Run
from altgrad_core.running.loop.loop import Loop
from altgrad_core.running.loop.signals import Signals
from altgrad_core.running.parallel.processes import Processes


class Unwritten:
    """Takes the records of a process that writes none."""

    def happened(self, record: Record) -> None:
        """Process 0 writes it."""

    def noticed(self, record: Record) -> None:
        """Process 0 writes its own."""


class FollowingSaver:
    """Saves nothing, and takes from process 0 what that reads."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def save(self, *, is_required: bool = False) -> None:
        """Process 0 saves."""

    def roll_back(self, not_after: int) -> int:
        """Take the state that process 0 went back to; its step."""
        files, progress = self._run.processes.from_first()
        self._run.restore_training(files)
        self._run.progress = Progress(**progress)
        return self._run.progress.step


def follow(run: Run) -> tuple[str | None, int]:
    """Train with process 0 until it ends: the status, None where process 0 never began, and the code of a signal."""
    saved: tuple[dict[str, bytes], bool] | None = run.processes.from_first()
    if saved is None:
        return None, 0
    files, is_fresh = saved
    run.restore(files)
    with Signals() as signals:
        loop = Loop(run, Unwritten(), FollowingSaver(run), signals)
        if is_fresh:
            loop.begin()
        return loop.train(), signals.exit_code


def meet(processes: Processes, resolved: Resolved, described: bytes) -> None:
    """Before anything is written: do all processes mean the same run, and can they share its steps?"""
    processes.refuse_uneven(resolved.manifest.data.accumulate)
    environment = describe_environment(torch.device("cpu"), resolved.plugins)
    facts = {**environment["versions"], **environment["plugins"], "threads": environment["threads"]}
    processes.agree({**facts, "manifest": hashlib.sha256(described).hexdigest()[:12]})

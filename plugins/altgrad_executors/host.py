"""What runs on another machine: a worker process for one cell at a time, and the checks before it."""

from __future__ import annotations

import os
import platform
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from altgrad_core import LAST, CellTask, Job, WorkerProcesses
from altgrad_executors.installation import differences, installation

BEGAN = "began"
"""The `reply` of the first message of a cell: its machine has room for it, and the right versions."""


class Host:
    """Trains one cell at a time in a process of its own, for a command on another machine.

    Its methods are called from several threads: `train` waits while `cancel` and `kill` act on what it trains.

    Args:
        expected: the `installation` of the command; a machine with another one is refused.
        directory: the working directory of the command, entered where it exists: modules are imported from there.
    """

    def __init__(self, expected: Mapping[str, str], directory: str) -> None:
        self._problems = differences(expected, installation())
        self._processes = WorkerProcesses(1)
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._signal: int | None = None
        with suppress(OSError):
            os.chdir(directory)

    def train(self, task: CellTask) -> Iterator[Mapping[str, Any] | None]:
        """Train a cell: every message of it, the last one included; None if its process ended without one."""
        if self._problems:
            advice = "install the same versions on every machine"
            yield {"reply": "failed", "message": f"{platform.node()}: {'; '.join(self._problems)}; {advice}"}
            return
        messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            self._job = self._processes.submit(task, messages.put) if self._signal is None else None
        if self._job is None:
            yield {"reply": "interrupted"}
            return
        yield {"reply": BEGAN}
        while True:
            message = messages.get()
            if message is None or message["reply"] in LAST:
                break
            yield message
        with self._lock:
            self._job = None
        yield message

    def cancel(self, signal: int) -> None:
        """Pass a signal on to the cell; one that has not begun does not begin."""
        with self._lock:
            self._signal = signal
            if self._job is not None:
                self._job.cancel(signal)

    def kill(self) -> None:
        """End the process of the cell."""
        with self._lock:
            if self._job is not None:
                self._job.kill()

    def close(self) -> None:
        """End the worker process."""
        self._processes.close()

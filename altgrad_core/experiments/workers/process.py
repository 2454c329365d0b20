"""A worker process as its parent sees it: cells go in, messages come out."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

PATIENCE = 300.0
"""Seconds that a process has to end after it was told to: to finish a step, and to save."""
LONGEST_LINE = 1 << 20

Message = tuple[int, dict[str, Any] | None]
"""The number of a worker and what it said; None: it is gone."""


class WorkerProcess:
    """A process of its own session, so that the signals of a terminal reach it through its parent alone."""

    def __init__(self, number_of: int, jobs: int, messages: queue.SimpleQueue[Message]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "altgrad_core.experiments.workers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(number_of, jobs),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",  # a library may print any bytes, and the pipe must be emptied whatever they are
        )
        threading.Thread(target=self._listen, args=(number_of, messages), daemon=True).start()
        threading.Thread(target=self._overhear, args=(number_of, messages), daemon=True).start()

    def ask(self, task: dict[str, Any]) -> None:
        """Hand over a cell. A process that is gone is noticed where it is listened to."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
        except OSError:
            return

    def close(self) -> None:
        """Close its pipe, which ends it; one that does not end within `PATIENCE` is killed."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _listen(self, number_of: int, messages: queue.SimpleQueue[Message]) -> None:
        try:
            for line in _lines(self.process.stdout):
                messages.put((number_of, _message(line)))
        finally:
            messages.put((number_of, None))

    def _overhear(self, number_of: int, messages: queue.SimpleQueue[Message]) -> None:
        """What plugins and libraries print."""
        for line in _lines(self.process.stderr):
            if line.strip():
                messages.put((number_of, {"reply": "warning", "message": line.strip()}))


def _lines(pipe: IO[str] | None) -> Iterator[str]:
    """The lines of a pipe, to its end; of one that is too long, parts."""
    assert pipe is not None
    return iter(lambda: pipe.readline(LONGEST_LINE), "")


def _message(line: str) -> dict[str, Any]:
    """What a worker said; a line that none of our code wrote is passed on as a warning."""
    with suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict) and "reply" in message:
            return message
    return {"reply": "warning", "message": line.strip()}


def _environment(number_of: int, jobs: int) -> dict[str, str]:
    """The environment of a worker: its share of the threads, and one of the GPUs, if there are several."""
    given = dict(os.environ)
    if jobs > 1:
        given.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    visible = _gpus()
    if len(visible) > 1:
        given["CUDA_VISIBLE_DEVICES"] = visible[number_of % len(visible)]
    return given


def _gpus() -> list[str]:
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name]
    return [str(index) for index in range(torch.cuda.device_count())]

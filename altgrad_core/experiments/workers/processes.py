"""The executor of this machine: worker processes, each of which trains one cell at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Any

from altgrad_core.contracts.executor import LAST, CellTask, Executor, Job, Tell
from altgrad_core.running.assembly.environment import choose_device

LONGEST_LINE = 1 << 20


class WorkerProcesses(Executor):
    """Trains cells in processes of this machine, which share its cores and GPUs."""

    def __init__(self, jobs: int) -> None:
        self.capacity = jobs
        self._workers: list[_Worker | None] = [None] * jobs

    def submit(self, task: CellTask, tell: Tell) -> Job:
        """Hand the cell to a process that is idle, or to a new one."""
        number = next(n for n, worker in enumerate(self._workers) if worker is None or not worker.is_busy)
        worker = self._workers[number]
        if worker is None or worker.is_gone:
            worker = self._workers[number] = _Worker(_environment(number, self.capacity))
        worker.ask(task, tell)
        return worker

    def close(self) -> None:
        """End the processes; one that does not end within `patience` is killed."""
        for worker in self._workers:
            if worker is not None:
                worker.close(self.patience)

    def check_device(self, device: str) -> None:
        """The devices of a cell are those of this machine."""
        choose_device(device)


class _Worker(Job):
    """A process of its own session, so that the signals of a terminal reach it through its parent alone."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "altgrad_core.experiments.workers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",  # a library may print any bytes, and the pipe must be emptied whatever they are
        )
        self._tell: Tell | None = None  # whoever waits for the job under way
        self.is_gone = False
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._overhear, daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether it has a cell."""
        return self._tell is not None

    def ask(self, task: CellTask, tell: Tell) -> None:
        """Hand over a cell. A process that is gone is noticed where it is listened to."""
        assert self._process.stdin is not None
        self._tell = tell
        try:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        except OSError:
            return

    def cancel(self, signal: int) -> None:
        """See `Job.cancel`."""
        self._process.send_signal(signal)

    def kill(self) -> None:
        """See `Job.kill`."""
        self._process.kill()

    def close(self, patience: float) -> None:
        """Close its pipe, which ends it."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        try:
            for line in _lines(self._process.stdout):
                self._hear(_message(line))
        finally:
            self.is_gone = True
            self._hear(None)

    def _hear(self, message: Mapping[str, Any] | None) -> None:
        tell = self._tell
        if message is None or message["reply"] in LAST:
            self._tell = None
        if tell is not None:
            tell(message)

    def _overhear(self) -> None:
        """What plugins and libraries print."""
        for line in _lines(self._process.stderr):
            if line.strip() and (tell := self._tell) is not None:
                tell({"reply": "warning", "message": line.strip()})


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


def _environment(number: int, jobs: int) -> dict[str, str]:
    """The environment of a worker: its share of the threads, and one of the GPUs, if there are several."""
    environment = dict(os.environ)
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    visible = _gpus()
    if len(visible) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]
    return environment


def _gpus() -> list[str]:
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name]
    return [str(index) for index in range(torch.cuda.device_count())]

"""The executor of a Slurm cluster: one job for each cell, submitted by submitit. Jobs and command talk through files."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from altgrad_core import LAST, CellTask, Executor, Job, ManifestError, PluginError, Tell
from altgrad_executors.host import BEGAN, Host
from altgrad_executors.installation import installation

TICK = 1.0
"""Seconds between two looks at a file that another machine writes."""
KILL = "kill"


class SlurmJobs(Executor):
    """Trains each cell in a job of its own.

    Args:
        folder: where scripts, logs and messages of the jobs go; all machines see it under the same path.
        jobs: how many are queued or running at a time.
        cluster: `slurm`, or `local` for processes of this machine.
        parameters: those of submitit's `update_parameters`.
    """

    def __init__(self, folder: Path, *, jobs: int, cluster: str, parameters: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            raise PluginError('executor "slurm": submitit is not installed; pip install "altgrad[slurm]"') from None
        if cluster == "slurm" and shutil.which("srun") is None:
            raise PluginError(
                'executor "slurm": this machine has no srun; run this on one that submits jobs to Slurm, or try it out with '
                '--set executor.cluster="local"'
            )
        self.capacity, self._folder, self._parameters = jobs, folder, parameters
        self._here, self._jobs = installation(), list[_SlurmJob]()
        try:
            self._submitit = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
            self._submitit.update_parameters(**parameters)
        except (RuntimeError, OSError, ValueError) as error:
            raise PluginError(
                f'executor "slurm": {error}; executor.folder must be a directory that all machines share'
            ) from None
        self._is_closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, task: CellTask, tell: Tell) -> Job:
        """Queue a job for the cell."""
        place = self._folder / f"cell-{uuid.uuid4().hex}"
        place.mkdir(parents=True)
        submitted = self._submitit.submit(run_cell, dict(task), self._here, str(Path.cwd()), str(place))
        job = _SlurmJob(submitted, place, tell)
        self._jobs = [other for other in self._jobs if not other.is_over]
        self._jobs.append(job)
        return job

    def close(self) -> None:
        """Stop to look for messages."""
        self._is_closed.set()

    def check_device(self, device: str) -> None:
        """A job has the GPUs that are asked for, and no others."""
        if device == "cuda" and not self._parameters.get("gpus_per_node"):
            raise ManifestError("run.device: is cuda, and executor.gpus is 0; ask for GPUs with --set executor.gpus=1")

    def _watch(self) -> None:
        while not self._is_closed.wait(TICK):
            for job in list(self._jobs):
                job.look()


class _SlurmJob(Job):
    """A job, and the folder through which it is talked to."""

    def __init__(self, submitted: Any, place: Path, tell: Tell) -> None:
        self.is_over = False
        self._submitted, self._place, self._tell = submitted, place, tell
        self._read, self._has_begun = 0, False

    def cancel(self, signal: int) -> None:
        """See `Job.cancel`. A job that is still queued is taken out of the queue."""
        _write(self._place / "order", str(signal))
        if not self._has_begun:
            self._submitted.cancel(check=False)

    def kill(self) -> None:
        """See `Job.kill`."""
        _write(self._place / "order", KILL)
        self._submitted.cancel(check=False)

    def look(self) -> None:
        """Pass on what the job has said since the last look."""
        if self.is_over:
            return
        is_done = self._submitted.done()  # before its messages are read, so that none is missed
        for message in self._new_messages():
            if message is None or message["reply"] in LAST:
                self._end(message)
                return
            if message["reply"] == BEGAN:
                self._has_begun = True
            else:
                self._tell(message)
        if is_done:
            self._end(None)

    def _end(self, last: Mapping[str, Any] | None) -> None:
        self.is_over = True
        self._tell(last)

    def _new_messages(self) -> Iterator[Any]:
        with suppress(FileNotFoundError), (self._place / "messages").open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield json.loads(line)


def run_cell(task: CellTask, expected: Mapping[str, str], directory: str, place: str) -> None:
    """Train a cell in this job, and write what happens to the file `messages` of its folder."""
    host, is_over = Host(expected, directory), threading.Event()
    threading.Thread(target=_obey, args=(host, Path(place, "order"), is_over), daemon=True).start()
    with Path(place, "messages").open("a") as file:
        for message in host.train(task):
            file.write(json.dumps(message) + "\n")
            file.flush()
    is_over.set()
    host.close()


def _obey(host: Host, order: Path, is_over: threading.Event) -> None:
    """Pass on each new order: the number of a signal, or `kill`."""
    before = ""
    while not is_over.is_set():
        now = order.read_text() if order.exists() else ""
        if now != before:
            before = now
            if now == KILL:
                host.kill()
            else:
                host.cancel(int(now))
        time.sleep(TICK)


def _write(path: Path, text: str) -> None:
    """Write a file that another machine sees whole or not at all."""
    fresh = path.with_suffix(".part")
    fresh.write_text(text)
    fresh.replace(path)

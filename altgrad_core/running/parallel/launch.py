"""Start the same command in several processes on this machine, and wait for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.merge import value_at
from altgrad_core.manifest.schema import DataTable
from altgrad_core.running.parallel import rendezvous
from altgrad_core.running.parallel.parent import PARENT, lifeline
from altgrad_core.running.parallel.processes import refuse_uneven
from altgrad_core.text import printable

GRACE = 30.0
"""Seconds that the others have to end by themselves once one has failed."""

POLL = 0.05


def is_launched() -> bool:
    """Whether this process is one of several that were started together."""
    return rendezvous.size() > 1


def is_restarted() -> bool:
    """Whether torchrun has started this process in place of one that ended, or that trained with one that ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch(arguments: Sequence[str], processes: int, source: ManifestFile) -> int:
    """Run `altgrad` with these arguments in so many processes, which train `source` together; the exit code.

    They find each other by a file and talk over the loopback interface, unless GLOO_SOCKET_IFNAME names another. The first
    has the terminal; what another says is shown if it fails. SIGINT and SIGTERM are passed on to all, and all end with this
    process, however it ends.

    Raises:
        ManifestError: it is a study, or the processes cannot share its micro-batches equally.
        RunError: this is Windows, where a process cannot follow the end of another as it does here.
    """
    refuse_study(source)
    refuse_uneven(_accumulate(source), processes)
    if os.name == "nt":
        raise RunError("--processes does not work on Windows; use Linux, macOS or WSL, or leave --processes out")
    with tempfile.TemporaryDirectory(prefix="altgrad-") as folder, lifeline() as line:
        outputs = [Path(folder, f"process-{rank}") for rank in range(processes)]
        meeting = Path(folder, "rendezvous")
        started = [_start(arguments, rank, processes, meeting, outputs[rank], line) for rank in range(processes)]
        with _passing_on(started):
            first_failed = _wait(started)
        codes = [process.returncode for process in started]
        if first_failed is not None and (codes[first_failed] < 0 or codes[first_failed] != codes[0]):
            last = outputs[first_failed].read_text(errors="replace").strip().splitlines()[-3:] if first_failed else []
            ended = f"process {first_failed} of {processes} ended first, with {_described(codes[first_failed])}"
            print(printable("altgrad: " + "\n".join([ended, *last])), file=sys.stderr)
        return _exit_code(codes)


def refuse_study(source: ManifestFile) -> None:
    """Refuse to train the cells of a study in processes that train one run together.

    Raises:
        ManifestError: the manifest has a `[matrix]`.
    """
    if "matrix" in source.data:
        raise ManifestError("several processes train a single run; for the cells of a [matrix], use --jobs")


def _accumulate(source: ManifestFile) -> int:
    """The micro-batches of a step; 0, which any number of processes can share, where the processes will refuse it."""
    given = value_at(source.data, ("data", "accumulate"))
    if given is None:
        given = DataTable.model_fields["accumulate"].default
    return given if isinstance(given, int) else 0


def _start(
    arguments: Sequence[str], rank: int, size: int, meeting: Path, outputs: Path, line: int
) -> subprocess.Popen[bytes]:
    threads = max(1, (os.cpu_count() or 1) // size)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        rendezvous.FILE: str(meeting),
        PARENT: str(line),
    }
    command = [sys.executable, "-m", "altgrad_core", *arguments]
    if rank == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=(line,))
    with outputs.open("wb") as file:
        return subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            pass_fds=(line,),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


class _passing_on:
    """While entered, signals that ask for an end go to every process, once each."""

    def __init__(self, started: Sequence[subprocess.Popen[bytes]]) -> None:
        self._started = started

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(number)


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all; the first that failed. The others of a failed one are ended once their grace is over."""
    failed, until = None, 0.0
    while any(process.poll() is None for process in started):
        bad = next((rank for rank, process in enumerate(started) if process.poll()), None)
        if failed is None and bad is not None:
            failed, until = bad, time.monotonic() + GRACE
        if failed is not None and time.monotonic() > until:
            for process in started:
                process.kill()
        time.sleep(POLL)
    return failed if failed is not None else next((r for r, p in enumerate(started) if p.returncode), None)


def _exit_code(codes: Sequence[int]) -> int:
    """That of the first process, or of one that failed where the first did not; 128 + N for signal N, as shells have it."""
    code = codes[0] or next((code for code in codes if code), 0)
    return 128 - code if code < 0 else code


def _described(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

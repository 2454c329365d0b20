"""The program in forks of this process: importing torch takes seconds, and a fork takes none."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from altgrad_core.cli.main import main

LONGEST = 60.0


@dataclass
class Fork:
    """A process that runs the command line, its output in a file.

    Attributes:
        before: what it does first, such as setting limits; then the command finds the environment as it left it.
    """

    arguments: tuple[object, ...]
    said: Path
    before: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._obey()

    def _obey(self) -> None:
        """In the child: never returns."""
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            file = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            sys.argv = ["altgrad", *map(str, self.arguments)]
            self.before()
            main()
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(99)
        sys.stdout.flush()
        os._exit(0)

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def is_over(self) -> bool:
        """Whether it has ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def end(self, *, kill_after: float | None = None) -> int:
        """Wait for its end; the exit code, negative for a signal that ended it."""
        until = time.monotonic() + (LONGEST if kill_after is None else kill_after)
        while not self.is_over():
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def text(self) -> str:
        """What it said, on stdout and stderr."""
        return self.said.read_text(errors="replace")


def files_in(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its name there."""
    paths = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}

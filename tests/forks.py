"""The program in forks of this process: importing torch takes seconds, and a fork takes none.

What a command needs is imported and compiled before the fork; then the command line is the real one, in a process of its own,
with signals, files and exit codes of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from altgrad_core.cli.main import main
from tests.patience import LONGEST

AS_IN_A_NEW_PROCESS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}  # fmt: skip


@dataclass
class Fork:
    """A process that runs the command line, its output in files.

    Attributes:
        folder: where its output is kept, as `out` and `err`.
        before: what it does first, such as setting limits; then the command finds the environment as it left it.
    """

    arguments: tuple[object, ...]
    folder: Path
    before: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self.folder.mkdir()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._obey()

    def _obey(self) -> None:
        """In the child: never returns, whatever is raised and whenever; else there would be a second pytest."""
        code = 99
        try:
            code = self._command()
            threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does: wait for threads that are no daemons
            for stream in (sys.stdout, sys.stderr):
                if not stream.closed:
                    stream.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _command(self) -> int:
        for number, handler in AS_IN_A_NEW_PROCESS.items():
            signal.signal(number, handler)
        for descriptor, name in ((1, "out"), (2, "err")):
            file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(file, descriptor)
            os.close(file)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", 1, closefd=False)
        sys.argv = ["altgrad", *map(str, self.arguments)]
        self.before()
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def is_over(self) -> bool:
        """Whether it has ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def wait_for(self, text: str) -> None:
        """Wait until it has written this to stderr; fails if it ends before that."""
        until = time.monotonic() + LONGEST
        while text not in self.err:
            if self.is_over() or time.monotonic() > until:
                assert text in self.err, self.text()
            time.sleep(0.001)

    def end(self, *, kill_after: float | None = None) -> int:
        """Wait for its end; the exit code, negative for a signal that ended it."""
        until = time.monotonic() + (LONGEST if kill_after is None else kill_after)
        while not self.is_over():
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def out(self) -> str:
        """What it wrote to stdout."""
        return self._read("out")

    @property
    def err(self) -> str:
        """What it wrote to stderr."""
        return self._read("err")

    def text(self) -> str:
        """What it wrote to both."""
        return self.out + self.err

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""


def files_in(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its name there."""
    paths = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}

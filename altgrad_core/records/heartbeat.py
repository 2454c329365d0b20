"""A lock that needs no lock of the file system: a file that its holder touches again and again.

Files are numbered. Whoever creates the next number, which only one process can, holds the lock; a holder that sees a higher number
has lost it. So a takeover can never remove the file of a third process.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from altgrad_core.errors import RunError

BEAT = 5.0
"""Seconds between two touches."""
GRACE = 60.0
"""Seconds without a touch after which a holder counts as dead."""


class Heartbeat:
    """The lock of one directory. Ages are differences of times that the file system gives: clocks of machines differ.

    Args:
        path: the lock's files are named after it.
        beat: seconds between two touches.
        grace: seconds without a touch after which another process may take over; several times `beat`.
    """

    def __init__(self, path: Path, *, beat: float = BEAT, grace: float = GRACE) -> None:
        self._path, self._beat, self._grace = path, beat, grace
        self._mine: Path | None = None
        self._is_lost = False
        self._touched = 0.0
        self._ends = threading.Event()

    def acquire(self) -> bool:
        """Take the lock; False where another process holds it.

        Raises:
            RunError: the file system lets two processes create one file.
            OSError: it cannot be written to.
        """
        newest = max(self._numbers(), default=0)
        if newest and not self._is_free(self._file(newest)):
            return False
        mine = self._file(newest + 1)
        if not _created(mine, _owner()):
            return False
        if _created(mine, _owner()):
            raise RunError(
                f"{self._path.parent}: this file system has no file locks, and lets two processes create the same file; "
                "choose another place"
            )
        if max(self._numbers()) > newest + 1:  # the directory was listed before it was seen to have changed
            mine.unlink(missing_ok=True)
            return False
        for number in self._numbers():
            if number <= newest:
                self._file(number).unlink(missing_ok=True)
        self._mine, self._is_lost, self._touched = mine, False, _now()
        self._ends.clear()
        threading.Thread(target=self._keep_touching, args=(mine,), daemon=True).start()
        return True

    def release(self) -> None:
        """Give the lock back, if it is still this one's."""
        self._ends.set()
        mine, self._mine = self._mine, None
        if mine is not None and not self._is_lost:
            with suppress(OSError):
                mine.write_text("{}")

    def confirm(self) -> None:
        """Before something is written: is the lock still held? Asks the disk only if it was not touched for long.

        Raises:
            RunError: another process has taken over.
        """
        if self._mine is None:
            return
        if not self._is_lost and _now() - self._touched > self._grace / 2:
            self._touch(self._mine)
        if self._is_lost:
            raise RunError(
                f"{self._path.parent}: this process did not update {self._mine.name} for more than {self._grace:g} s, and another "
                "one continues the run; this one ends without writing more"
            )

    @property
    def is_used(self) -> bool:
        """Whether anybody has ever taken this lock here."""
        return bool(self._numbers())

    def is_held_here(self) -> bool | None:
        """Whether a process of this machine has the lock; None where its holder is one of another, or not known."""
        try:
            owner = json.loads(self._file(max(self._numbers(), default=0)).read_text())
        except (OSError, ValueError):
            return None
        if not owner or _has_ended_here(owner):
            return False
        return True if _is_of_here(owner) else None

    def _keep_touching(self, mine: Path) -> None:
        while not self._ends.wait(self._beat) and not self._is_lost:
            with suppress(OSError):  # the server may be away; `confirm` looks again
                self._touch(mine)

    def _touch(self, mine: Path) -> None:
        if max(self._numbers(), default=0) > _number(mine):
            self._is_lost = True
            return
        os.utime(mine)
        self._touched = _now()

    def _is_free(self, path: Path) -> bool:
        """Whether nobody holds the lock of this file: it was given back, or its holder is dead."""
        try:
            owner = json.loads(path.read_text())
        except FileNotFoundError:
            return False  # another process is taking it over
        except ValueError:
            owner = {"host": "?"}  # it is just being written, or its holder died meanwhile
        if not owner or _has_ended_here(owner):
            return True
        try:
            before = path.stat().st_mtime
            if self._file_system_time() - before <= self._grace:
                return False
            time.sleep(2 * self._beat)  # the times may be those of machines after all
            return path.stat().st_mtime == before
        except FileNotFoundError:
            return False

    def _file_system_time(self) -> float:
        """The time as the file system has it."""
        probe = self._path.with_name(f"{self._path.name}.time-{uuid.uuid4().hex}")
        try:
            probe.write_bytes(b"")
            os.utime(probe)
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        return [_number(path) for path in self._path.parent.glob(f"{self._path.name}.beat-*")]

    def _file(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.beat-{number}")


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _created(path: Path, content: dict[str, Any]) -> bool:
    """Create a file with this content; False where there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(content))
        file.flush()
        os.fsync(file.fileno())
    return True


def _owner() -> dict[str, Any]:
    """Who this process is."""
    return {"host": socket.gethostname(), "boot": _boot(), "process": os.getpid(), "began": _began(os.getpid())}


def _has_ended_here(owner: dict[str, Any]) -> bool:
    """Whether it was a process of this machine, and is gone. Without /proc that is not known."""
    return _is_of_here(owner) and _began(owner.get("process", 0)) != owner.get("began")


def _is_of_here(owner: dict[str, Any]) -> bool:
    return bool(_boot()) and (owner.get("host"), owner.get("boot")) == (socket.gethostname(), _boot())


def _boot() -> str:
    """What this start of the machine, or of the container, is called; empty where that is not known."""
    try:
        namespace = str(
            Path("/proc/self/ns/pid").readlink()
        )  # another container has other processes under the same numbers
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + namespace
    except OSError:
        return ""


def _began(process: int) -> str:
    """When a process began, in ticks of the machine; empty where there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _now() -> float:
    """Seconds that pass while the machine sleeps, too, where that can be had."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

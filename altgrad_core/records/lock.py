"""The lock of a run directory: that of the file system where it can be relied on, else a heartbeat as well."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

from filelock import FileLock, Timeout

from altgrad_core.files import open_regular
from altgrad_core.records.heartbeat import Heartbeat

NETWORK = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "afs",
        "9p",
        "virtiofs",
        "glusterfs",
        "orangefs",
        "pvfs2",
        "ocfs2",
        "gfs2",
        "panfs",
    ]
)
"""File systems that machines share. Whether a lock on one machine is seen on another cannot be tried on one machine."""
LOOK = 0.1
"""Seconds that `is_held` may have the file lock at most, for which `Lock.acquire` waits."""


class Lock:
    """One holder at a time. How it is kept is found out by a test each time it is taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileLock | None = None
        self._heartbeat: Heartbeat | None = None
        self.notice: str | None = None

    def acquire(self) -> bool:
        """Take the lock; False where another process holds it.

        Raises:
            RunError: the file system offers nothing that keeps two processes apart.
            OSError: it cannot be written to.
        """
        problem = _flock_problem(self._path.parent)
        kind = _kind_of(self._path.parent)
        if problem is None:
            self._file = FileLock(str(self._path))
            try:
                self._file.acquire(timeout=LOOK, poll_interval=LOOK / 10)
            except Timeout:
                self._file = None
                return False
        if problem is None and not _is_shared(kind):
            return True
        self._heartbeat = Heartbeat(self._path)
        try:
            is_held = self._heartbeat.acquire()
        except BaseException:
            self.release()
            raise
        if not is_held:
            self._heartbeat = None
            self.release()
            return False
        why = problem or f"whether machines see each other's file locks on {kind} is not known"
        self.notice = f"{why}; this run is protected by a heartbeat file{'' if problem else ' as well'}"
        return True

    def release(self) -> None:
        """Give it back."""
        if self._heartbeat is not None:
            self._heartbeat.release()
        if self._file is not None:
            self._file.release()
        self._heartbeat = self._file = self.notice = None

    def confirm(self) -> None:
        """Before something is written: is the lock still held?

        Raises:
            RunError: another process has taken over, after this one was not heard of for long.
        """
        if self._heartbeat is not None:
            self._heartbeat.confirm()


def is_held(path: Path) -> bool | None:
    """Whether a process has the lock of this path, without taking it; None where that cannot be known from here."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        with open_regular(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_free = True
    except BlockingIOError:
        return True
    except OSError:
        is_free = False
    heartbeat = Heartbeat(path)
    if heartbeat.is_used:
        return heartbeat.is_held_here()
    return False if is_free else None


def _flock_problem(directory: Path) -> str | None:
    """Why `flock` does not keep two processes apart here; None: it does."""
    if sys.platform == "win32":
        return None
    import fcntl

    with NamedTemporaryFile(dir=directory, prefix=".lock-probe-") as first, open(first.name, "rb") as second:  # noqa: PTH123
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            return "this file system gives one file lock to two holders"
        except OSError as error:
            return f"this file system refuses file locks ({error.strerror})"


def _is_shared(kind: str) -> bool:
    return kind in NETWORK or kind.startswith("fuse.")


def _kind_of(directory: Path) -> str:
    """The type of the file system, such as `nfs4`; empty where the machine does not say (only Linux does)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    path, best, kind = directory.resolve(), -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4].encode().decode("unicode_escape"))
        if len(mount.parts) >= best and path.is_relative_to(mount):
            best, kind = len(mount.parts), after.split()[0]
    return kind

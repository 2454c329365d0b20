"""Reading files that someone else may have put there: regular files of a sane size, without waiting and without end."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from pathlib import Path
from typing import BinaryIO

NOT_REGULAR = "not a regular file"
_FLAGS = ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")  # Windows has the last one alone, others do not have it


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; never waits, as opening a named pipe would.

    Raises:
        OSError: there is no such file, or it is a pipe, a device, a socket.
    """
    try:
        descriptor = os.open(path, _reading())
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise OSError(errno.EINVAL, NOT_REGULAR, str(path)) from None
        raise
    except ValueError:  # a zero byte in the path
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, NOT_REGULAR, str(path))


def read_whole(path: Path, *, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        most: bytes that it may have; by default, those of the memory of this machine.

    Raises:
        OSError: it cannot be opened, see `open_regular`, or is larger.
    """
    limit = memory() if most is None else most
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"has {size:,} bytes, expected {limit:,} at most", str(path))
        return file.read(size)


def read_piped(path: Path, *, most: int, seconds: float) -> bytes:
    """What comes out of a pipe, such as `/dev/stdin` or `<(command)`, to its end.

    Raises:
        OSError: it is no pipe, holds more than `most` bytes, or has not ended after `seconds`.
    """
    until, content = time.monotonic() + seconds, b""
    descriptor = os.open(path, _reading())
    try:
        while len(content) <= most:
            left = until - time.monotonic()
            if left <= 0:
                raise OSError(errno.ETIMEDOUT, f"the pipe did not end within {seconds:g} s", str(path))
            select.select([descriptor], [], [], left)
            try:
                part = os.read(descriptor, 1 << 16)
            except BlockingIOError:
                continue
            if part:
                content += part
            elif content:
                return content
            else:  # nobody has opened it for writing yet
                time.sleep(0.01)
    finally:
        os.close(descriptor)
    raise OSError(errno.EFBIG, f"the pipe holds more than {most:,} bytes", str(path))


def is_pipe(path: Path) -> bool:
    """Whether this is a pipe, by name or by descriptor."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _reading() -> int:
    """The flags to read bytes without waiting, as far as this system has them."""
    return sum(getattr(os, flag, 0) for flag in _FLAGS) | os.O_RDONLY


def memory() -> int:
    """Bytes of the memory of this machine; without a limit where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

"""Processes that end when the process that started them does, even if that one is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PARENT = "ALTGRAD_PARENT"
"""The environment variable with the number of the open file that tells whether the parent still lives."""

PATIENCE = 60.0
"""Seconds in which a run saves and ends once its parent is gone; then it is ended."""


@contextmanager
def lifeline() -> Iterator[int]:
    """The number of an open file to hand to children: it is at its end once this process has ended or left the context."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def end_with_parent() -> None:
    """From now on, the end of the parent acts as SIGTERM: a run saves itself and ends. Once for a process."""
    number = os.environ.pop(PARENT, None)  # a process that this one starts has another parent
    if number is not None:
        threading.Thread(target=_wait, args=(int(number),), daemon=True).start()


def _wait(number: int) -> None:
    with suppress(OSError):  # the number is of no file: nothing can be known of the parent
        os.read(number, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os._exit(128 + signal.SIGTERM)

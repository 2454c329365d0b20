"""How long a test waits. A busy machine may be ten times as slow as a quiet one, and must not fail a test for it.

So a test of time can only tell what would hang from what ends. Speed is measured in `benchmarks`, as a ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST = 60.0  # seconds, for what takes one or two on a quiet machine; what hangs would take minutes, or never end


@contextmanager
def ends_soon(case: object = "") -> Iterator[None]:
    """Fails if what is done within takes so long that it must have waited, or have done far too much."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONGEST, case


def wait_for(condition: Callable[[], bool], told: Callable[[], object] = str) -> None:
    """Wait until this holds; fails, and says what is told, if it never does."""
    until = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < until, told()
        time.sleep(0.005)

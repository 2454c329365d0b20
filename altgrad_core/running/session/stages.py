"""What a process does before and between steps, told to whoever shows a run. None of it is in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from altgrad_core.records.record import Record

DOING = "doing"
"""The kind of the record that tells whoever shows a run what is being done; its `what` is None when that is over."""

COMPILING = "compiling kernels, which are cached for later runs"


def telling(show: Callable[[Record], None]) -> Callable[[str | None], None]:
    """A function that tells what is being done."""
    return lambda what: show({"kind": DOING, "what": what})


@contextmanager
def announced_compilation(tell: Callable[[str | None], None]) -> Iterator[None]:
    """While entered, tell when Numba compiles a kernel; one that is read from its cache is not told of."""
    from numba.core import event

    class Compiling(event.Listener):
        depth = 0  # a kernel that calls another has it compiled first

        def on_start(self, event: Any) -> None:
            self.depth += 1
            if self.depth == 1:
                tell(COMPILING)

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            if not self.depth:
                tell(None)

    with event.install_listener("numba:compile", Compiling()):
        yield

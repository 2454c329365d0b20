"""Signals set a flag; the loop looks at it between steps. A second signal ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

from altgrad_core.text import as_bytes

_WATCHED = (signal.SIGINT, signal.SIGTERM)


SIGNAL = "signal"
"""The kind of the record that tells whoever shows a run of a signal. It comes from a signal handler, and is in no file."""
_SHOW_CURSOR = "\x1b[?25h\n"


def write_at_once(text: str) -> None:
    """Write to stderr from a signal handler: `print` refuses to be entered again while it is writing."""
    with suppress(OSError):
        os.write(2, as_bytes(text))


def write_line(notice: str) -> None:
    """Write the notice on a line of its own."""
    write_at_once(f"\n{notice}\n")


class Signals:
    """While entered, SIGINT and SIGTERM are remembered in `received` instead of raised.

    Args:
        tell: is called in the signal handler with a notice for people, so it may set a flag but not print. A display
            that owns the terminal shows the notice itself; whatever else writes there breaks its frame.
    """

    def __init__(self, tell: Callable[[str], None] = write_line) -> None:
        self._tell = tell
        self.received: int | None = None
        self.notice: str | None = None
        self._before: dict[int, object] = {}

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as shells have it."""
        return 128 + (self.received or 0)

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in _WATCHED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if os.isatty(2):  # a display may have hidden the cursor
                write_at_once(_SHOW_CURSOR)
            os._exit(128 + number)
        self.received = number
        self.notice = f"{signal.Signals(number).name}: finishing this step, then saving; once more to stop at once"
        self._tell(self.notice)

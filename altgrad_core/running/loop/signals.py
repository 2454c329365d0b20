"""Signals set a flag; the loop looks at it between steps. A second signal ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType

_WATCHED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """While entered, SIGINT and SIGTERM are remembered in `received` instead of raised."""

    def __init__(self) -> None:
        self.received: int | None = None
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
            os._exit(128 + number)
        self.received = number
        name = signal.Signals(number).name
        said = f"\n{name}: finishing this step, then saving; once more to stop at once\n"
        with suppress(OSError):  # and not print, which refuses to be entered again while it is writing
            os.write(2, said.encode())

"""`python -m altgrad_core`, and the program `altgrad`. An interrupt while it is being loaded ends it without a word."""

from __future__ import annotations

import gc
import os
import signal
from types import FrameType


def main() -> None:
    """Load the command line, then do what it says."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, _leave)
    gc.disable()  # modules are loaded and none is dropped: looking for garbage takes a tenth of the time
    from altgrad_core.cli.main import main as obey

    gc.enable()
    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    obey()


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()

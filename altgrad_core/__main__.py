"""`python -m altgrad_core`, and the program `altgrad`. An interrupt while it is being loaded ends it without a word."""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Load the command line, then do what it says."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, _leave)
    from altgrad_core.cli.main import main as obey

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    obey()


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()

"""`python -m altgrad_core`, and the program `altgrad`. An interrupt before and after its work ends it without a word.

`main` loads what it needs: an interrupt while this module is imported would still be Python's, with a traceback.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Load the command line, then do what it says."""
    try:
        _load_and_obey()
    except KeyboardInterrupt:
        os._exit(130)


def _load_and_obey() -> None:
    import gc
    import signal

    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, _leave)
    gc.disable()  # modules are loaded and none is dropped: looking for garbage takes a tenth of the time
    from altgrad_core.cli.main import main as obey

    gc.enable()
    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        obey()
    finally:
        if is_usual:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to save


def _leave(number: int, frame: "FrameType | None") -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()

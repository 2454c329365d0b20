"""The log that W&B keeps of itself, on a disk that may be full."""

from __future__ import annotations

import logging


class QuietLog(logging.Handler):
    """While it is open, lines that W&B cannot write to its own log files are dropped without a traceback on stderr.

    It changes the file handlers of the logger `wandb` alone. It has to be open before `wandb.init` adds them, since handlers are
    called in the order in which they were added.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logger = logging.getLogger("wandb")
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Silence the file handlers that were added since the last line."""
        for handler in self._logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _drop  # type: ignore[method-assign]

    def close(self) -> None:
        """Leave the logger as it was."""
        self._logger.removeHandler(self)
        super().close()


def _drop(record: logging.LogRecord) -> None:
    """Lose a line of the log."""

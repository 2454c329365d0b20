"""TensorBoard: one event file for each run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from altgrad_core import PluginError, Tracker
from altgrad_trackers.scalars import scalars


class TensorBoardFiles(Tracker):
    """Writes the main numbers as TensorBoard scalars."""

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise PluginError(
                f'tracker "tensorboard": {error}; install it with: pip install "altgrad[tensorboard]"'
            ) from None
        self._directory = directory
        self._writer = SummaryWriter(str(directory))

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the main numbers of one record."""
        for tag, number in scalars(record).items():
            self._writer.add_scalar(tag, number, record["step"])

    def close(self, status: str) -> str:
        """Finish the file; how to look at it."""
        self._writer.close()
        return f"tensorboard --logdir {shlex.quote(str(self._directory))}"

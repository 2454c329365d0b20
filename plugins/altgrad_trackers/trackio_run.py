"""Trackio: one of its runs for each of ours, in its database on this machine."""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import TextIOBase
from typing import TYPE_CHECKING, Any, TextIO

from altgrad_core import PluginError, TrackedRun, Tracker
from altgrad_trackers.hyperparameters import hyperparameters
from altgrad_trackers.scalars import scalars

if TYPE_CHECKING:
    from altgrad_trackers import Trackio


class TrackioRun(Tracker):
    """Logs the main numbers, each at its step."""

    def __init__(self, options: Trackio, run: TrackedRun) -> None:
        try:
            from trackio import finish, init
        except ImportError as error:
            raise PluginError(f'tracker "trackio": {error}; install it with: pip install "altgrad[trackio]"') from None
        self._project, self._finish = options.project, finish
        with _without_words():
            self._run = init(
                project=options.project, name=run.name, group=run.group, config=dict(hyperparameters(run.manifest)),
                embed=False, auto_log_cpu=False, auto_log_gpu=False,
            )  # fmt: skip

    def write(self, record: Mapping[str, Any]) -> None:
        """Log the main numbers of one record."""
        if numbers := scalars(record):
            self._run.log(numbers, step=record["step"])

    def close(self, status: str) -> str:
        """Finish; how to look at it."""
        with _without_words():
            self._finish()  # of this thread, in which it was begun; at its exit Trackio would finish it again
        return f"trackio show --project {shlex.quote(self._project)}"


class _Others(TextIOBase):
    """Passes on what other threads write: stdout belongs to the run."""

    def __init__(self, to: TextIO) -> None:
        self._to, self._mine = to, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._mine else self._to.write(text)


@contextmanager
def _without_words() -> Iterator[None]:
    """Without what Trackio prints on stdout as it begins and ends."""
    with redirect_stdout(_Others(sys.stdout)):
        yield

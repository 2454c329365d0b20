"""An executor plugin: where the cells of a study are trained. It hands out tasks and knows nothing of studies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from altgrad_core.contracts.options import Options

Task = Mapping[str, Any]
"""How to train one cell, as JSON data; `train_cell` does it, in any process that sees the directory of the study."""

Tell = Callable[[Mapping[str, Any] | None], None]
"""Called from any thread with what a job says: the messages of `train_cell`, then what that returns; None if the job ended
without returning, because its process was killed or its machine was lost."""

LAST = frozenset(["ended", "interrupted", "busy", "failed"])
"""The `reply` of the last message of a job."""


class Job(ABC):
    """One cell that is being trained."""

    @abstractmethod
    def cancel(self, signal: int) -> None:
        """Ask it to save and to end, as this signal would."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once. What it saved before is kept."""


class Executor(ABC):
    """Trains cells somewhere. It may die at any moment: the lock on a cell's directory decides who trains the cell.

    Attributes:
        capacity: how many jobs it can run at a time. It is asked again and again, and may change.
    """

    capacity: int

    @abstractmethod
    def submit(self, task: Task, tell: Tell) -> Job:
        """Begin to train a cell, and return at once."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything that was started; no job is running any more."""


class ExecutorSpec(Options):
    """The options of an executor. A subclass sets `name`, declares its options and writes `build`."""

    @abstractmethod
    def build(self, jobs: int) -> Executor:
        """Connect, for `jobs` cells at a time (`--jobs`).

        Raises:
            PluginError: a package it needs is not installed, or what it connects to is not there.
        """

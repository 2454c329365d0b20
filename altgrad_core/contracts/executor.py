"""An executor plugin: where the cells of a study are trained. It hands out tasks and knows nothing of studies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from altgrad_core.contracts.options import Options

CellTask = Mapping[str, Any]
"""How to train one cell, as JSON data; `train_cell` does it, in any process that sees the directory of the study."""

Tell = Callable[[Mapping[str, Any] | None], None]
"""Called from any thread with what a job says: the messages of `train_cell`, then what that returns; None if the job ended
without returning, because its process was killed or its machine was lost."""

LAST = frozenset(["ended", "interrupted", "busy", "failed"])
"""The `reply` of the last message of a job."""


class Job(ABC):
    """One cell that is being trained.

    A command that receives a signal calls `cancel` once, and waits for the last message of the job. If that has not come
    after `Executor.patience` seconds, it calls `kill` once, and waits again. After its last message neither is called.
    """

    @abstractmethod
    def cancel(self, signal: int) -> None:
        """Ask it to save and to end, as this signal would, and return at once."""

    @abstractmethod
    def kill(self) -> None:
        """End it, whatever it does, and return at once. What it saved before is kept. `tell(None)` follows."""


class Executor(ABC):
    """Trains cells somewhere. It may die at any moment: the lock on a cell's directory decides who trains the cell.

    Attributes:
        capacity: how many jobs it can run at a time. It is asked again and again, and may change.
        patience: seconds that a job has to end after `Job.cancel`: to finish a step, and to save. Then it is killed.
    """

    capacity: int
    patience: float = 300.0

    @abstractmethod
    def submit(self, task: CellTask, tell: Tell) -> Job:
        """Begin to train a cell, and return at once."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything that was started; no job is running any more."""

    def check_device(self, device: str) -> None:  # noqa: B027
        """Refuse a `run.device` that no job can have. By default nothing is known here, and the cell says so where it runs.

        Raises:
            ManifestError: naming the device and what to do.
        """


class ExecutorSpec(Options):
    """The options of an executor. A subclass sets `name`, declares its options and writes `build`."""

    @abstractmethod
    def build(self, jobs: int) -> Executor:
        """Connect, for `jobs` cells at a time (`--jobs`).

        Raises:
            PluginError: a package it needs is not installed, or what it connects to is not there.
        """

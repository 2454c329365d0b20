"""How far a study has come: every number that its display shows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.records.record import number
from altgrad_core.results.catalogue import Listed
from altgrad_core.results.ending import Ending


@dataclass
class Running:
    """A cell under way in this command.

    Attributes:
        doing: what it does besides steps.
    """

    cell: Cell
    step: int = 0
    first: int | None = None
    loss: str = "-"
    doing: str | None = "starting, or loading PyTorch and plugins"

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.cell.steps


@dataclass
class Board:
    """The state of a study.

    Attributes:
        cells: how many are known; a search adds some.
        most: how many there can be, with all that a search may add.
        ended: how many ended, by status.
        failed: by name, why a cell crashed twice.
        left: steps of the cells that are neither ended nor running.
        running: by number of the job.
        elsewhere: by name, the cells that other commands train, as their files tell.
    """

    cells: int = 0
    most: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0
    running: dict[int, Running] = field(default_factory=dict)
    elsewhere: dict[str, Listed] = field(default_factory=dict)
    _done: int = 0
    _since: float | None = None

    def began(self, job: int, cell: Cell) -> None:
        """A job began."""
        self.running[job] = Running(cell)

    def stepped(self, job: int, *, step: int, loss: str) -> None:
        """A cell came to a step."""
        running = self.running[job]
        if running.first is None:
            running.first = step
        running.step, running.loss, running.doing = step, loss, None
        self._since = time.perf_counter() if self._since is None else self._since

    @property
    def has_stepped(self) -> bool:
        """Whether any cell took a step."""
        return self._since is not None

    def left_off(self, job: int) -> None:
        """A job is over."""
        running = self.running.pop(job)
        self._done += running.step - (running.first or 0)

    def count(self, endings: dict[str, Ending]) -> None:
        """Count how cells ended."""
        self.ended = Counter(ending.status for ending in endings.values())

    def seconds_left(self) -> float | None:
        """By the pace so far; None before there is one."""
        steps = self._done + sum(r.step - (r.first or 0) for r in self.running.values())
        if self._since is None or steps < 1:
            return None
        to_do = self.left + sum(r.steps - r.step for r in self.running.values())
        return (time.perf_counter() - self._since) / steps * to_do


def line_of(cell: Cell, message: Mapping[str, Any], board: Board) -> str:
    """One line for a cell that ended.

    Args:
        cell: the cell.
        message: the last message of its job.
        board: the state of the study.
    """
    done = sum(board.ended.values())
    loss = message["validation_loss"]
    result = f", validation loss {number(loss):.4f}" if loss is not None else ""
    left = board.seconds_left()
    pace = f"; about {left / 60:.0f} min left" if left is not None and left >= 90 else ""
    return f"{done}/{board.cells}  {cell.name}: {message['status']}{result} ({message['seconds']:.1f} s{pace})"

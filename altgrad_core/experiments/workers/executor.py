"""Train every cell of a matrix in processes of this machine. Cells are claimed by lock, so several commands share them."""

from __future__ import annotations

import json
import math
import queue
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.experiments.matrix.cells import Cell, Matrix, directory_of, endings_in
from altgrad_core.experiments.matrix.plan import plan_of
from altgrad_core.experiments.workers.board import Board
from altgrad_core.experiments.workers.process import Message, WorkerProcess
from altgrad_core.records.directory import CELLS, RunDirectory, mark_latest
from altgrad_core.records.files import write_json, write_whole
from altgrad_core.records.record import number
from altgrad_core.results.ending import Ending
from altgrad_core.running.loop.signals import Signals

ATTEMPTS = 2
TICK = 0.2  # seconds between two looks at signals
PATIENCE = 1.0  # seconds between two tries of a cell that another command is training

Show = Callable[[Board, str | None], None]


@dataclass(frozen=True)
class Tally:
    """How a command left a study.

    Attributes:
        failed: by name, why a cell crashed, twice.
        signal: what interrupted the command, if anything did.
    """

    board: Board
    failed: dict[str, str]
    signal: int | None

    @property
    def exit_code(self) -> int:
        """As the command line returns it: 3 where cells failed."""
        if self.signal is not None:
            return 128 + self.signal
        return 3 if self.failed else 0


def train_cells(matrix: Matrix, study: Path, *, jobs: int, overwrite: bool, show: Show) -> Tally:
    """Train what is not finished yet, until nothing is left that this command can do.

    Raises:
        ManifestError: the directory is that of a single run, or of another study.
        RunError: the directory cannot be written to.
    """
    if not overwrite:
        _refuse_another(matrix, study)
    try:
        study.mkdir(parents=True, exist_ok=True)
        write_whole(study / "manifest.toml", matrix.source.text.encode())
    except OSError as error:
        raise RunError(f"{study}: cannot be written to: {error.strerror}; choose another place with --out") from None
    mark_latest(study)
    with Signals() as signals:
        work = _Work(matrix, study, signals, jobs=jobs, overwrite=overwrite, show=show)
        try:
            work.see_through()
        finally:
            work.close()
    return Tally(work.board, work.board.failed, signals.received)


def _refuse_another(matrix: Matrix, study: Path) -> None:
    if RunDirectory(study).is_begun:
        raise ManifestError(f"{study}: a single run is here; choose another directory with --out")
    try:
        name = json.loads((study / CELLS).read_text())["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if name != matrix.name:
        raise ManifestError(
            f'{study}: the study "{name}" is here, and this one is "{matrix.name}"; choose another directory with --out, '
            "or pass --overwrite"
        )


class _Work:
    def __init__(
        self, matrix: Matrix, study: Path, signals: Signals, *, jobs: int, overwrite: bool, show: Show
    ) -> None:
        self._matrix, self._study, self._signals = matrix, study, signals
        self._jobs, self._show = jobs, show
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._workers: dict[int, WorkerProcess] = {}
        self._attempts, self._later = Counter[str](), dict[str, float]()
        self._endings: dict[str, Ending] = {}
        self._written: list[str] | None = None
        self._warned: set[str] = set()
        self._afresh: set[str] = set()
        self.board = Board()
        self._waiting = self._known()
        if overwrite:
            self._afresh = {
                cell.name for cell in self._matrix.cells(self._endings) if directory_of(cell, study).is_begun
            }
            self._endings.clear()
            self._waiting = self._known()

    def see_through(self) -> None:
        """Hand out cells and hear of them, until all have ended or a signal has come."""
        is_told = False
        while self.board.running or (self._waiting and self._signals.received is None):
            if self._signals.received is None:
                self._hand_out()
            elif not is_told:
                is_told = True
                for number_of in self.board.running:
                    self._workers[number_of].process.send_signal(self._signals.received)
            try:
                self._hear(*self._messages.get(timeout=TICK))
            except queue.Empty:
                self._show(self.board, None)

    def close(self) -> None:
        """Let the workers go."""
        for worker in self._workers.values():
            worker.close()

    def _known(self) -> list[Cell]:
        """The cells that are to be trained, after a look at what has ended, here or elsewhere."""
        crashed = {name: Ending("crashed", math.nan) for name in self.board.failed}
        found = endings_in(self._matrix, self._study, known={**crashed, **self._endings}, apart_from=self._afresh)
        self._endings = {name: ending for name, ending in found.items() if name not in crashed}
        cells = self._matrix.cells(found)
        if (names := [cell.name for cell in cells]) != self._written:
            write_json(self._study / CELLS, plan_of(self._matrix, cells))
            self._written = names
        taken = (
            {running.cell.name for running in self.board.running.values()}
            | self._endings.keys()
            | self.board.failed.keys()
        )
        waiting = [cell for cell in cells if cell.name not in taken]
        self.board.cells, self.board.left = len(cells), sum(cell.resolved.manifest.run.steps for cell in waiting)
        self.board.count(self._endings)
        return waiting

    def _hand_out(self) -> None:
        now = time.monotonic()
        for number_of in range(self._jobs):
            if number_of in self.board.running:
                continue
            cell = next((cell for cell in self._waiting if self._later.get(cell.name, 0.0) <= now), None)
            if cell is None:
                return
            if number_of not in self._workers:
                self._workers[number_of] = WorkerProcess(number_of, self._jobs, self._messages)
            self._waiting.remove(cell)
            self.board.left -= cell.resolved.manifest.run.steps
            self.board.began(number_of, cell)
            self._workers[number_of].ask(self._task(cell))

    def _task(self, cell: Cell) -> dict[str, Any]:
        source = cell.resolved.source
        data = {**source.data, "run": {**source.data["run"], "name": cell.name}}
        return {
            "settings": [[list(location), option] for location, option in source.settings.items()],
            "manifest": str(self._matrix.source.path.resolve()),
            "data": data,
            "directory": str(directory_of(cell, self._study).path),
            "overwrite": cell.name in self._afresh,
            "checkpoints": self._matrix.table.checkpoints,
        }

    def _hear(self, worker: int, message: dict[str, Any] | None) -> None:
        """Take in what a worker said, or that it is gone (None)."""
        if message is None:
            self._gone(worker)
            return
        if (reply := message["reply"]) == "warning":
            self._warn(message["message"])
            return
        if reply == "note":
            self._show(self.board, message["message"])
            return
        cell = self.board.running[worker].cell
        if reply == "step":
            loss = message["loss"]
            self.board.stepped(worker, step=message["step"], loss="-" if loss is None else f"{number(loss):.4f}")
            self._show(self.board, None)
        elif reply == "failed":
            self._failed(worker, message["message"])
        else:
            self.board.left_off(worker)
            self._later[cell.name] = time.monotonic() + PATIENCE if reply == "busy" else 0.0
            self._afresh.discard(cell.name)
            self._waiting = self._known()
            self._show(self.board, _line(cell, message, self.board) if reply == "ended" else None)

    def _gone(self, worker: int) -> None:
        """A process ended: killed from outside, or by the signal that this command passed on."""
        self._workers.pop(worker).close()
        if worker in self.board.running and self._signals.received is None:
            self._failed(worker, "its process ended without a word: out of memory, or killed")
        elif worker in self.board.running:
            self.board.left_off(worker)

    def _failed(self, worker: int, reason: str) -> None:
        cell = self.board.running[worker].cell
        self.board.left_off(worker)
        self._attempts[cell.name] += 1
        is_last = self._attempts[cell.name] >= ATTEMPTS
        if is_last:
            self.board.failed[cell.name] = reason
        self._waiting = self._known()
        self._show(self.board, f"{cell.name}: {'failed' if is_last else 'failed, and is tried once more'}: {reason}")

    def _warn(self, message: str) -> None:
        """Show a warning once, in however many cells it comes."""
        if message not in self._warned and self._signals.received is None:
            self._warned.add(message)
            self._show(self.board, f"warning: {message}")


def _line(cell: Cell, message: dict[str, Any], board: Board) -> str:
    """One line for a cell that ended."""
    done = sum(board.ended.values())
    loss = message["validation_loss"]
    result = f", validation loss {number(loss):.4f}" if loss is not None else ""
    left = board.seconds_left()
    pace = f"; about {left / 60:.0f} min left" if left is not None and left >= 90 else ""
    return f"{done}/{board.cells}  {cell.name}: {message['status']}{result} ({message['seconds']:.1f} s{pace})"

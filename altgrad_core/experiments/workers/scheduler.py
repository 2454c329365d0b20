"""Train every cell of a matrix, by whatever executor. Cells are claimed by lock, so several commands share them."""

from __future__ import annotations

import math
import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from altgrad_core.contracts.executor import Executor, Job
from altgrad_core.errors import AltgradError, RunError, place_of, reason_of
from altgrad_core.experiments.matrix.additions import additions
from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.endings import directory_of, ending_of, endings_in, under_way_in
from altgrad_core.experiments.matrix.plan import as_json, plan_of
from altgrad_core.experiments.matrix.registration import register
from altgrad_core.experiments.study.wording import few
from altgrad_core.experiments.workers.answers import capacity_of, reply_of
from altgrad_core.experiments.workers.board import Board, line_of
from altgrad_core.experiments.workers.place import refuse_another
from altgrad_core.experiments.workers.task import task_of
from altgrad_core.records.directory import CELLS, RunDirectory, mark_latest
from altgrad_core.records.files import write_whole
from altgrad_core.records.record import number
from altgrad_core.results.catalogue import progress
from altgrad_core.results.ending import Ending
from altgrad_core.running.loop.signals import Signals

ATTEMPTS = 2
TICK = 0.2  # seconds between two looks at signals
UNSEEN = 5.0  # seconds until it is looked again for the summary of a cell that ended on another machine
LOOK = 5.0  # seconds between two looks at what other commands train
PATIENCE = 1.0  # seconds between two tries of a cell that another command is training

Show = Callable[[Board, str | None], None]
Message = tuple[int, Mapping[str, Any] | None]
"""The number of a job and what it said; None: it ended without a last word."""


@dataclass(frozen=True)
class StudyOutcome:
    """How a command left a study.

    Attributes:
        names: of all cells that are known.
        failed: by name, why a cell crashed, twice.
        signal: what interrupted the command, if anything did.
    """

    board: Board
    names: tuple[str, ...]
    failed: dict[str, str]
    signal: int | None

    @property
    def exit_code(self) -> int:
        """As the command line returns it: 3 where cells failed."""
        if self.signal is not None:
            return 128 + self.signal
        return 3 if self.failed else 0


def train_cells(matrix: Matrix, study: Path, *, executor: Executor, overwrite: bool, show: Show) -> StudyOutcome:
    """Train what is not finished yet, until nothing is left that this command can do.

    Raises:
        ManifestError: the directory is that of a single run, or of another study.
        RunError: the directory cannot be written to.
    """
    RunDirectory(study).refuse_links()
    if not overwrite:
        refuse_another(matrix, study)
    try:
        study.mkdir(parents=True, exist_ok=True)
        write_whole(study / "manifest.toml", matrix.source.text.encode())
    except OSError as error:
        raise RunError(f"{study}: cannot be written to: {error.strerror}; choose another place with --out") from None
    mark_latest(study)
    with Signals(lambda notice: None) as signals:  # the work shows it, on the display
        work = _Work(matrix, study, signals, executor=executor, overwrite=overwrite, show=show)
        work.see_through()
    return StudyOutcome(work.board, tuple(work.planned or ()), work.board.failed, signals.received)


class _Work:
    def __init__(
        self, matrix: Matrix, study: Path, signals: Signals, *, executor: Executor, overwrite: bool, show: Show
    ) -> None:
        self._matrix, self._study, self._signals = matrix, study, signals
        self._executor, self._show = executor, show
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._submitted = 0
        self._attempts, self._later = Counter[str](), dict[str, float]()
        self._endings: dict[str, Ending] = {}
        self.planned: list[str] | None = None
        self._warned, self._afresh = set[str](), set[str]()
        self._next_look, self._seen = 0.0, dict[str, float]()
        self._next_known, self._waiting = 0.0, list[Cell]()
        self.board = Board(most=matrix.bound())
        self._waiting = self._known()
        if overwrite:
            self._afresh = {
                cell.name for cell in self._matrix.cells(self._endings) if directory_of(cell, study).is_begun
            }
            self._endings.clear()
            self._waiting = self._known()

    def see_through(self) -> None:
        """Hand out cells and hear of them, until all have ended or a signal has come."""
        last_shown: float | None = None
        while self.board.running or (self._waiting and self._signals.received is None):
            if self._signals.received is None:
                self._hand_out()
            elif last_shown is None:
                last_shown = time.monotonic()
                self._show(self.board, self._signals.notice)
                for job in self._jobs.values():
                    job.cancel(self._signals.received)
            elif time.monotonic() - last_shown > self._executor.patience:
                last_shown = math.inf
                self._kill_what_is_left()
            self._look_elsewhere()
            try:
                self._hear(*self._messages.get(timeout=TICK))
            except queue.Empty:
                self._show(self.board, None)

    def _look_elsewhere(self) -> None:
        """Look now and then at the cells that others train: those whose files have changed since they were first looked at."""
        if (now := time.monotonic()) < self._next_look:
            return
        self._next_look, result = now + LOOK, under_way_in(self._study, self._waiting)
        self._seen = {name: self._seen.get(name, listed.changed) for name, listed in result.items()}
        moving = {name: listed for name, listed in result.items() if listed.changed > self._seen[name]}
        is_news, self.board.elsewhere = bool(moving) and not self.board.elsewhere, moving
        if is_news:
            text = few([f"{name} ({progress(listed)})" for name, listed in moving.items()])
            self._show(self.board, f"other commands are training {text}")

    def _kill_what_is_left(self) -> None:
        """End the processes that did not end when they were told to."""
        for job, running in self.board.running.items():
            self._show(
                self.board,
                f"{running.cell.name}: its process did not end within {self._executor.patience:g} s of the signal and is killed; "
                "what it saved is kept",
            )
            self._jobs[job].kill()

    def _known(self) -> list[Cell]:
        """The cells to train, after a look at what has ended: every few seconds at all cells, else at those not waiting."""
        crashed, unseen = {name: Ending("crashed") for name in self.board.failed}, set(self._afresh)
        if (now := time.monotonic()) < self._next_known:
            unseen |= {cell.name for cell in self._waiting}
        else:
            self._next_known = now + UNSEEN
        result = endings_in(self._matrix, self._study, known={**crashed, **self._endings}, apart_from=unseen)
        self._endings = {name: ending for name, ending in result.items() if name not in crashed}
        cells = self._matrix.cells(result)
        if self.planned is None:
            register(self._matrix, self._study, ended=len(self._endings))
        if (names := [cell.name for cell in cells]) != self.planned:
            if self.planned is not None or [cell.key for cell in cells] != list(self._matrix.known):
                write_whole(self._study / CELLS, as_json(plan_of(self._matrix, cells)).encode())
            if self.planned is not None and not self._signals.received:
                for line in additions(self._matrix, cells, before=self.planned):
                    self._show(self.board, line)
            self.planned = names
        taken = (
            {running.cell.name for running in self.board.running.values()}
            | self._endings.keys()
            | self.board.failed.keys()
        )
        waiting = [cell for cell in cells if cell.name not in taken]
        self.board.cells, self.board.left = len(cells), sum(cell.steps for cell in waiting)
        self.board.count(self._endings)
        return waiting

    def _hand_out(self) -> None:
        now = time.monotonic()
        while len(self.board.running) < capacity_of(self._executor, is_busy=bool(self.board.running)):
            cell = next((cell for cell in self._waiting if self._later.get(cell.name, 0.0) <= now), None)
            if cell is None:
                return
            self._waiting.remove(cell)
            if cell.name not in self._afresh and ending_of(directory_of(cell, self._study)) is not None:
                self._waiting = self._known()  # another command has trained it since the last look
                continue
            self.board.left -= cell.steps
            self._submitted += 1
            self.board.began(self._submitted, cell)
            tell = partial(self._received, self._submitted)
            task = task_of(cell, self._matrix, self._study, overwrite=cell.name in self._afresh)
            try:
                self._jobs[self._submitted] = self._executor.submit(task, tell)
            except AltgradError:
                raise
            except Exception as error:  # code of a plugin
                message = f"its executor could not start it: {reason_of(error)}{place_of(error)}"
                tell({"reply": "failed", "message": message})

    def _received(self, job: int, message: Mapping[str, Any] | None) -> None:
        """Take what a job says, in any thread."""
        self._messages.put((job, reply_of(message)))

    def _hear(self, job: int, message: Mapping[str, Any] | None) -> None:
        """Take in what a job said, or that it ended without a last word (None)."""
        if job not in self.board.running:
            return
        if message is None:
            self._gone(job)
            return
        if (reply := message["reply"]) == "warning":
            self._warn(message["message"])
            return
        if reply == "note":
            self._show(self.board, message["message"])
            return
        if reply == "doing":
            self.board.running[job].doing = message["what"]
            self._show(self.board, None)
            return
        cell = self.board.running[job].cell
        if reply == "step":
            loss = message["loss"]
            self.board.stepped(job, step=message["step"], loss="-" if loss is None else f"{number(loss):.4f}")
            self._show(self.board, None)
        elif reply == "failed":
            self._failed(job, message["message"])
        else:
            self._left_off(job)
            self._later[cell.name] = time.monotonic() + PATIENCE if reply == "busy" else 0.0
            self._afresh.discard(cell.name)
            self._waiting = self._known()
            if reply == "ended" and cell.name not in self._endings:
                self._unseen(cell)
            else:
                self._show(self.board, line_of(cell, message, self.board) if reply == "ended" else None)

    def _unseen(self, cell: Cell) -> None:
        """Look again later for what another machine wrote; a network file system may show it late, or it is another disk."""
        self._attempts[cell.name] += 1
        self._later[cell.name] = time.monotonic() + UNSEEN
        if self._attempts[cell.name] > ATTEMPTS:
            summary = directory_of(cell, self._study).summary
            self.board.failed[cell.name] = (
                f"it ended, and {summary} is not here or is damaged; do all machines share the directory of the study?"
            )
            self._waiting = self._known()
            self._show(self.board, f"{cell.name}: failed: {self.board.failed[cell.name]}")

    def _left_off(self, job: int) -> None:
        self.board.left_off(job)
        self._jobs.pop(job, None)

    def _gone(self, job: int) -> None:
        """A process ended: killed from outside, or by the signal that this command passed on."""
        if self._signals.received is None:
            self._failed(job, "its process ended without a message: out of memory, or killed")
        else:
            self._left_off(job)

    def _failed(self, job: int, reason: str) -> None:
        cell = self.board.running[job].cell
        self._left_off(job)
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

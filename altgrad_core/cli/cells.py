"""What a person sees of a study while it is under way: how many cells have ended, and those that are being trained."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from altgrad_core.cli.display import Display, Progress, State
from altgrad_core.experiments.workers.board import Board
from altgrad_core.results.catalogue import loss

MOST_ELSEWHERE = 12


class Standing(State):
    """The state of a study, for a display."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def progress(self) -> Progress:
        """See `State.progress`."""
        board = self.board
        ended = sum(board.ended.values()) + len(board.failed)
        more = f"(at most {board.most} with all cells that the search may add)" if board.most > board.cells else ""
        diverged = f"{board.ended['diverged']} diverged" if board.ended["diverged"] else ""
        failed = f"{len(board.failed)} failed" if board.failed else ""
        remarks = tuple(filter(None, (more, diverged, failed)))
        return Progress(ended, board.cells, "cells", board.seconds_left(), remarks)

    def table(self) -> Table | None:
        """See `State.table`."""
        if not (self.board.running or self.board.elsewhere):
            return None
        table = Table("cell", "step", "loss", "", box=None, pad_edge=False)
        for running in list(self.board.running.values()):
            doing = "" if running.doing is None else running.doing
            table.add_row(running.cell.name, f"{running.step}/{running.steps}", running.loss, doing)
        for name, listed in list(self.board.elsewhere.items())[:MOST_ELSEWHERE]:
            step = f"{listed.step or 0}/{listed.steps or '?'}"
            table.add_row(name, step, loss(listed.loss), "trained by another command")
        return table


def shown_on(display: Display) -> Callable[[Board, str | None], None]:
    """A function that shows how far a study has come on a display."""

    def show(board: Board, line: str | None) -> None:
        if display.state is None:
            display.state = Standing(board)
        display.doing(_first_steps(board), is_in_state=True)
        if line is not None:
            display.say(line)

    return show


def _first_steps(board: Board) -> str | None:
    """What the cells under way do before any has taken a step: later the table tells it by cell."""
    if board.has_stepped:
        return None
    parts = (f"{running.cell.name}: {running.doing}" for running in list(board.running.values()) if running.doing)
    return next(parts, None)

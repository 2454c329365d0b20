"""Ctrl-C on a terminal: the notice comes at once, below one whole frame, and the frame is gone at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from rich.live import Live

from altgrad_core.running.loop.signals import Signals
from tests.patience import wait_for

if TYPE_CHECKING:
    from tests.forks import Fork

NOTICE = "SIGINT: finishing this step, then saving; once more to stop at once"


class Terminal:
    """The program on a terminal of its own, and everything that it wrote; `start` is given what the process does first."""

    def __init__(self, start: Callable[[Callable[[], None]], Fork]) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 160))
        self.process = start(lambda: _take_terminal(theirs))
        os.close(theirs)
        self.text = ""

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def read_until(self, is_done: Callable[[str], bool]) -> None:
        """Read until the text so far is enough, or the program has ended."""
        wait_for(lambda: is_done(self.text) or not self._read(), lambda: self.text[-2000:])

    def _read(self) -> bool:
        """Read what there is; whether the program goes on."""
        if select.select([self._ours], [], [], 0.05)[0]:
            try:
                self.text += os.read(self._ours, 1 << 16).decode(errors="replace")
            except OSError:  # the program has ended
                return False
        return True

    def screen(self) -> list[str]:
        """What is left on the screen, by the movements that rich makes: carriage return, line feed, up, erase line."""
        lines, row, column = [""], 0, 0
        for move in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", self.text):
            if move == "\r":
                column = 0
            elif move == "\n":
                row, lines = row + 1, [*lines, ""] if row + 1 == len(lines) else lines
            elif move.startswith("\x1b["):
                row = max(0, row - int(move[2:-1] or 1)) if move.endswith("A") else row
                lines[row] = "" if move.endswith("K") else lines[row]
            else:
                lines[row] = lines[row].ljust(column)[:column] + move + lines[row][column + len(move) :]
                column += len(move)
        return [line.rstrip() for line in lines]


def _take_terminal(terminal: int) -> None:
    """Make this terminal the one that controls this process, so that its Ctrl-C reaches it, and write there."""
    os.environ.update({"TERM": "xterm", "COLUMNS": "160", "LINES": "40"})
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(terminal, descriptor)
    sys.stdin = os.fdopen(0, closefd=False)


@pytest.mark.parametrize("kind", ["run", "study"])
def test_an_interrupt_leaves_no_broken_frame_and_says_at_once_what_it_does(
    tiny: Path, kind: str, fork: Callable[..., Fork]
) -> None:
    if kind == "study":
        tiny.write_text(tiny.read_text() + '[matrix]\n"run.seed" = [1, 2]\n')
    out = tiny.parent / "out"
    command = ("run", tiny, "--out", out, "--set", "run.steps=100000")
    terminal = Terminal(lambda before: fork(*command, before=before))
    shown = r"\D[1-9]\d*/100000"
    terminal.read_until(lambda text: re.search(shown, text) is not None)
    assert re.search(r"0:\d\d ", re.split(shown, terminal.text)[0])  # the time, before a step
    terminal.press(b"\x03")
    terminal.read_until(lambda text: "SIGINT" in text)
    terminal.read_until(lambda text: "continue with" in text)
    terminal.read_until(lambda text: False)
    assert terminal.process.end() == 130
    screen = terminal.screen()
    assert screen.count(NOTICE) == 1
    frames = [line for line in screen if "continue with" not in line]
    assert not any("100000" in line or "━" in line for line in frames)  # no frame of the progress is left
    resumed = f"altgrad resume {out}" if kind == "run" else f"altgrad run {tiny} --out {out}"
    assert f"saved; continue with: {resumed}" in "".join(screen)


def test_a_second_interrupt_shows_the_cursor_again(fork: Callable[..., Fork]) -> None:
    def interrupted(take: Callable[[], None]) -> None:
        take()
        with Live(console=Console(stderr=True)), Signals():
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    terminal = Terminal(lambda take: fork("--version", before=lambda: interrupted(take)))
    terminal.read_until(lambda text: False)
    assert terminal.process.end() == 130
    assert terminal.text.rfind("\x1b[?25h") > terminal.text.rfind("\x1b[?25l") > -1

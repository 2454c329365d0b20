"""What a person sees while something runs, from the first second on: a live display on a terminal, lines on a pipe."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from altgrad_core.cli.console import Console
from altgrad_core.cli.terminal import say
from altgrad_core.running.loop.signals import write_line

PATIENCE = 1.0  # seconds that something takes before a pipe hears of it
LOADING = "loading PyTorch and plugins"


@dataclass(frozen=True)
class Progress:
    """How far something has come: `done` of `total`, in `unit`; more in `remarks`."""

    done: int
    total: int
    unit: str
    seconds_left: float | None = None
    remarks: tuple[str, ...] = ()


class State(ABC):
    """What runs: a single run, or the cells of a study."""

    @abstractmethod
    def progress(self) -> Progress | None:
        """How far it has come; None before that is known."""

    @abstractmethod
    def table(self) -> Table | None:
        """The latest numbers; None before there are any."""


class Display(ABC):
    """Tells what is being done and what has happened.

    Attributes:
        state: what runs, once something does.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.state: State | None = None

    @property
    def elapsed(self) -> str:
        """The time since the command began to show something."""
        return clock(time.monotonic() - self._began)

    @abstractmethod
    def doing(self, what: str | None, *, is_in_state: bool = False) -> None:
        """Tell what is being done from now on; None: nothing but what the state shows, which may tell it too."""

    @abstractmethod
    def say(self, line: str) -> None:
        """A line that stays."""

    @abstractmethod
    def show_line(self, line: str) -> None:
        """A line about what the state shows, where that is not seen by itself."""

    @abstractmethod
    def signalled(self, notice: str) -> None:
        """Tell of a signal. It is called in a signal handler."""


class Unshown(Display):
    """Tells nobody: the first of several processes has the terminal."""

    def doing(self, what: str | None, *, is_in_state: bool = False) -> None:
        """See `Display.doing`."""

    def say(self, line: str) -> None:
        """See `Display.say`."""

    def show_line(self, line: str) -> None:
        """See `Display.show_line`."""

    def signalled(self, notice: str) -> None:
        """See `Display.signalled`."""


class Lines(Display):
    """Lines on stderr. What takes less than a second is not told of, so that quick commands stay quiet."""

    def __init__(self) -> None:
        super().__init__()
        self._doing: str | None = None
        self._shown: str | None = None
        self._timer: threading.Timer | None = None

    def doing(self, what: str | None, *, is_in_state: bool = False) -> None:
        """See `Display.doing`."""
        if what == self._doing:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._doing, self._timer = what, None
        if what is not None and what != self._shown:
            self._timer = threading.Timer(PATIENCE, self._tell, [what, self.elapsed])
            self._timer.daemon = True
            self._timer.start()

    def _tell(self, what: str, since: str) -> None:
        self._shown = what
        say(f"{since}  {what}", err=True)

    def say(self, line: str) -> None:
        """See `Display.say`."""
        say(line, err=True)

    def show_line(self, line: str) -> None:
        """See `Display.show_line`."""
        say(line, err=True)

    def signalled(self, notice: str) -> None:
        """See `Display.signalled`."""
        write_line(notice)


@dataclass
class Screen(Display):
    """A frame at the bottom of a terminal, which is gone at the end."""

    console: Console
    notice: str | None = None
    _doing: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def doing(self, what: str | None, *, is_in_state: bool = False) -> None:
        """See `Display.doing`."""
        self._doing = None if is_in_state else what

    def say(self, line: str) -> None:
        """See `Display.say`."""
        self.console.print(line, highlight=False, markup=False)

    def show_line(self, line: str) -> None:
        """See `Display.show_line`: the frame shows it."""

    def signalled(self, notice: str) -> None:
        """See `Display.signalled`."""
        self.notice = notice

    def frame(self) -> Group:
        """The head, the table of what runs, and the notice of a signal."""
        table = None if self.state is None else self.state.table()
        parts: list[RenderableType | None] = [self._head(), table, self.notice]
        return Group(*(part for part in parts if part is not None))

    def _head(self) -> Table:
        head = Table.grid(padding=(0, 2))
        parts: list[RenderableType] = [self.elapsed]
        if (progress := None if self.state is None else self.state.progress()) is not None:
            parts += [ProgressBar(total=max(1, progress.total), completed=progress.done, width=30)]
            parts += [f"{progress.done}/{progress.total} {progress.unit}"]
            parts += [] if progress.seconds_left is None else [f"{clock(progress.seconds_left)} left"]
            parts += progress.remarks
        parts += [] if self._doing is None else [self._doing]
        head.add_row(*parts)
        return head


@contextmanager
def displaying() -> Iterator[Display]:
    """A display on stderr, for as long as the work lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = Lines()
        try:
            yield lines
        finally:
            lines.doing(None)
        return
    screen = Screen(console)
    try:
        with Live(console=console, refresh_per_second=8, transient=True, get_renderable=screen.frame):
            yield screen
    finally:
        if screen.notice is not None:
            console.print(screen.notice, highlight=False)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"

"""What a person sees while a run is under way: a live table on a terminal, plain lines on a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.table import Table

from altgrad_core.cli.console import Console
from altgrad_core.cli.terminal import say
from altgrad_core.contracts.reading import Reading, recorded_facts
from altgrad_core.records.record import Record, number
from altgrad_core.running.loop.signals import SIGNAL, write_line

LINES = 20  # progress lines of a whole run on a pipe
_BEFORE, _AFTER = ("step", "loss", "validation", "learning rate"), ("time left",)
MOST_READINGS = 3  # columns for what monitors report


class Standing:
    """The latest value of everything shown, gathered from the records."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps
        self._pace = "tokens/s"
        self.values: dict[str, str] = dict.fromkeys((*_BEFORE, self._pace, *_AFTER), "-")
        self.signal: str | None = None
        self._facts: dict[str, Reading] = {}
        self._columns: tuple[str, ...] = ()
        self._start: tuple[float, int] | None = None

    def take(self, record: Record) -> None:
        """Update from one record."""
        kind = record["kind"]
        if kind in ("began", "resumed"):
            self.steps = record["steps"]
            self._pace = f"{record['task']['counts']}/s" if "task" in record else self._pace
            self._choose(recorded_facts(record))
        elif kind == "step":
            self._take_step(record)
        elif kind == "evaluation":
            self.values["validation"] = f"{number(record['loss']):.4f}"
        elif kind == "clock":
            self.values[self._pace] = f"{record['tokens_per_second']:,.0f}"
        elif kind == SIGNAL:  # in a signal handler: nothing may be printed here
            self.signal = record["message"]
        elif kind == "reading" and record["reading"] in self._columns:
            self.values[record["reading"]] = self._mean(record)

    def _choose(self, facts: dict[str, Reading]) -> None:
        """Columns for the first readings that have a limit, then for those that have a worse direction, then others."""
        ordered = sorted(facts.values(), key=lambda reading: (reading.limit is None, reading.worse is None))
        self._facts, self._columns = facts, tuple(reading.name for reading in ordered[:MOST_READINGS])
        shown = (*_BEFORE, self._pace, *self._columns, *_AFTER)
        self.values = {name: self.values.get(name, "-") for name in shown}

    def _mean(self, record: Record) -> str:
        numbers = [number(value) for value in record["values"].values()]
        return self._facts[record["reading"]].shown(sum(numbers) / len(numbers)) if numbers else "-"

    def _take_step(self, record: Record) -> None:
        step, now = record["step"], time.perf_counter()
        if self._start is None:
            self._start = (now, step)
        self.values["step"] = f"{step}/{self.steps}" if self.steps else str(step)
        self.values["loss"] = f"{number(record['loss']):.4f}"
        self.values["learning rate"] = f"{record['learning_rate']:.3g}"
        done = step - self._start[1]
        if done and self.steps:
            left = (now - self._start[0]) / done * (self.steps - step)
            self.values["time left"] = f"{int(left) // 60}:{int(left) % 60:02d}"


@contextmanager
def watching(steps: int | None) -> Iterator[Callable[[Record], None]]:
    """A function that shows every record on stderr, for as long as the run lasts."""
    standing = Standing(steps)
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda record: _show_line(standing, record)
        return
    try:
        with Live(
            console=console, refresh_per_second=8, transient=True, get_renderable=lambda: _frame(standing)
        ) as live:

            def show(record: Record) -> None:
                standing.take(record)
                if (notice := _notice(record)) is not None:
                    live.console.print(notice, highlight=False, markup=False)

            yield show
    finally:
        if standing.signal is not None:
            console.print(standing.signal, highlight=False)


def _show_line(standing: Standing, record: Record) -> None:
    if record["kind"] == SIGNAL:
        write_line(record["message"])
        return
    standing.take(record)
    if (notice := _notice(record)) is not None:
        say(notice, err=True)
    if record["kind"] == "step" and _is_told(record["step"], standing.steps):
        told = [f"{name} {value}" for name, value in standing.values.items() if value != "-"]
        say("  ".join(told), err=True)


def _is_told(step: int, steps: int | None) -> bool:
    every = max(1, (steps or 1000) // LINES)
    return step == 1 or step % every == 0 or step == steps


def _frame(standing: Standing) -> Group:
    """The table, and below it the notice of a signal, which the display shows within an eighth of a second."""
    return Group(_table(standing), *([] if standing.signal is None else [standing.signal]))


def _table(standing: Standing) -> Table:
    table = Table(*standing.values)
    table.add_row(*standing.values.values())
    return table


def _notice(record: Record) -> str | None:
    """A line for what a person should not miss."""
    kind = record["kind"]
    if kind == "warning":
        return f"warning: {record['message']}"
    if kind == "tracker":
        return f"{record['tracker']}: {record['message']}"
    if kind == "resumed":
        return f"resumed at step {record['step']}"
    if kind == "action" and record["action"] == "Warn":
        return f"warning: step {record['step']}: {record['intervention']}: {record['because']}"
    if kind == "overruled":
        by = f"{record['intervention']}: {record['action']}"
        return f"step {record['step']}: {by} was overruled by an earlier intervention ({record['because']})"
    if kind == "action":
        return f"step {record['step']}: {record['intervention']}: {record['action']}{_target(record)} ({record['because']})"
    return None


def _target(record: Record) -> str:
    if "to" not in record:
        return ""
    is_chain = isinstance(record["to"], dict)
    return f" {record['layer']} to {'the next of its chain' if is_chain else record['to']}"

"""What a person sees of a single run while it is under way: its latest numbers, gathered from the records."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.table import Table

from altgrad_core.cli.display import Display, Progress, State, clock
from altgrad_core.contracts.reading import Reading, recorded_facts
from altgrad_core.records.record import Record, number
from altgrad_core.running.loop.signals import SIGNAL
from altgrad_core.running.session.stages import DOING

LINES = 20  # progress lines of a whole run on a pipe
_BEFORE, _AFTER = ("step", "loss", "validation", "learning rate"), ("elapsed", "time left")
MOST_READINGS = 3  # columns for what monitors report


class Standing(State):
    """The latest value of everything shown."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps
        self.step = 0
        self._pace = "tokens/s"
        self.values: dict[str, str] = dict.fromkeys((*_BEFORE, self._pace, *_AFTER), "-")
        self._facts: dict[str, Reading] = {}
        self._columns: tuple[str, ...] = ()
        self._start: tuple[float, int] | None = None

    def progress(self) -> Progress | None:
        """See `State.progress`."""
        return None if self.steps is None else Progress(self.step, self.steps, "steps", self._seconds_left())

    def table(self) -> Table | None:
        """See `State.table`; what the head of the display tells is left out."""
        if not self.step:
            return None
        shown_values = {name: value for name, value in self.values.items() if name not in ("step", *_AFTER)}
        table = Table(*shown_values, box=None, pad_edge=False)
        table.add_row(*shown_values.values())
        return table

    def take(self, record: Record) -> None:
        """Update from one record."""
        kind = record["kind"]
        if kind in ("began", "resumed"):
            self.steps, self.step = record["steps"], record.get("step", 0)
            self._pace = f"{record['task']['counts']}/s" if "task" in record else self._pace
            self._choose(recorded_facts(record))
        elif kind == "step":
            self._take_step(record)
        elif kind == "evaluation":
            self.values["validation"] = f"{number(record['loss']):.4f}"
        elif kind == "clock":
            self.values[self._pace] = f"{record['tokens_per_second']:,.0f}"
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
        self.step = record["step"]
        if self._start is None:
            self._start = (time.perf_counter(), self.step)
        self.values["step"] = f"{self.step}/{self.steps}" if self.steps else str(self.step)
        self.values["loss"] = f"{number(record['loss']):.4f}"
        self.values["learning rate"] = f"{record['learning_rate']:.3g}"
        if (left := self._seconds_left()) is not None:
            self.values["time left"] = clock(left)

    def _seconds_left(self) -> float | None:
        if self._start is None or self.steps is None or self.step <= self._start[1]:
            return None
        began, first = self._start
        return (time.perf_counter() - began) / (self.step - first) * (self.steps - self.step)


def shown_on(display: Display, steps: int | None) -> Callable[[Record], None]:
    """A function that shows every record of a run of so many steps on a display."""
    standing = display.state = Standing(steps)

    def show(record: Record) -> None:
        if record["kind"] == SIGNAL:
            display.signalled(record["message"])
        elif record["kind"] == DOING:
            display.doing(record["what"])
        else:
            _take(record, standing, display)

    return show


def _take(record: Record, standing: Standing, display: Display) -> None:
    standing.take(record)
    if (notice := _notice(record)) is not None:
        display.say(notice)
    if record["kind"] == "step":
        display.doing(None)
        if _is_told(standing.step, standing.steps):
            standing.values["elapsed"] = display.elapsed
            display.show_line("  ".join(f"{name} {value}" for name, value in standing.values.items() if value != "-"))


def _is_told(step: int, steps: int | None) -> bool:
    every = max(1, (steps or 1000) // LINES)
    return step == 1 or step % every == 0 or step == steps


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

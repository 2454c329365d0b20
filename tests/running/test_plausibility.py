"""The number of readings that is foretold is the number of readings that come."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from altgrad_core import Backpropagated, Began, Ended, Evaluated, Event, Monitor, Readings, Updated
from altgrad_core.manifest.schema import RunTable
from altgrad_core.running.assembly.plausibility import readings_in
from altgrad_core.testing.tiny import tiny_run, train


class Notes(Monitor):
    """Reports whenever it is due."""

    name: ClassVar = "notes"

    def observe(self, event: Event) -> Readings:
        return {"*": event.step}


KINDS: dict[type[Event], type[Monitor]] = {
    kind: type(f"{kind.__name__}Notes", (Notes,), {"on": kind, "__module__": __name__})
    for kind in (Began, Backpropagated, Updated, Evaluated, Ended)
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"every": 2},
        {"every": 5, "start": 5},
        {"every": 3, "start": 4, "end": 9},
        {"start": 3, "end": 3},
        {"start": 1},
        {"every": 4, "end": 11},
        {"start": 11},
    ],
    ids=str,
)
def test_as_many_come_as_are_foretold(options: dict[str, Any]) -> None:
    monitors = [notes(**options) for notes in KINDS.values()]
    run = tiny_run(monitors=monitors, steps=11)  # evaluated at 3, 6, 9 and 11
    records = train(run).of("reading")
    table = run.resolved.manifest.run
    for place, monitor in enumerate(monitors, start=1):
        assert sum(record["instance"] == place for record in records) == readings_in(monitor, table)


def test_without_evaluations_in_between_there_is_the_last() -> None:
    notes = KINDS[Evaluated]
    assert [readings_in(notes(every=every), RunTable(steps=6)) for every in (1, 3, 4)] == [1, 1, 0]


def test_what_begins_later_is_not_counted_before() -> None:
    assert readings_in(Notes(every=2), RunTable(steps=10), first=5) == 3  # 6, 8, 10

"""The records of a run that may still be under way, read as they grow: each look reads only what is new."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core.contracts.reading import Reading, recorded_facts
from altgrad_core.files import open_regular
from altgrad_core.records.record import number
from altgrad_core.results.lines import LONGEST_LINE, sound_record

Points = dict[int, float]
"""Step -> value."""


@dataclass
class GrowingRun:
    """What the records of a run hold so far.

    A file that became shorter, or another one under the same name, is read again: a resumed run takes steps back.

    Attributes:
        losses, evaluations: training and validation loss, in `unit`.
        readings: reading -> layer -> its values.
        facts: reading -> what its monitor declared of it.
        unit: of the losses; empty where it is not known.
        steps: how many the run was to take; None before it began.
        status: how it ended; None while it has not.
    """

    path: Path
    losses: Points = field(default_factory=dict)
    evaluations: Points = field(default_factory=dict)
    readings: dict[str, dict[str, Points]] = field(default_factory=dict)
    facts: dict[str, Reading] = field(default_factory=dict)
    unit: str = ""
    steps: int | None = None
    status: str | None = None
    _read: int = 0
    _file: int | None = None

    def update(self) -> bool:
        """Take in what was written since the last look; whether there was anything. A torn last line waits."""
        try:
            with open_regular(self.path) as file:
                result = os.fstat(file.fileno())
                if result.st_size < self._read or self._file not in (None, result.st_ino):
                    self._forget()
                self._file = result.st_ino
                file.seek(self._read)
                before = self._read
                while (line := file.readline(LONGEST_LINE + 1)).endswith(b"\n") or len(line) > LONGEST_LINE:
                    self._read += len(line)
                    if (record := sound_record(line)) is not None:
                        self._take(record)
        except OSError:
            return False
        return self._read > before

    def _forget(self) -> None:
        for table in (self.losses, self.evaluations, self.readings, self.facts):
            table.clear()
        self.steps, self.status, self._read = None, None, 0

    def _take(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        if kind == "began":
            self.steps = record["steps"]
            task = record.get("task")
            self.unit = str(task.get("unit", "")) if isinstance(task, dict) else ""
            self.facts |= recorded_facts(record)
        elif kind == "step":
            self.losses[record["step"]] = number(record["loss"])
        elif kind == "evaluation":
            self.evaluations[record["step"]] = number(record["loss"])
        elif kind == "reading":
            layers = self.readings.setdefault(record["reading"], {})
            for layer, value in record["values"].items():
                layers.setdefault(layer, {})[record["step"]] = number(value)
        elif kind == "ended":
            self.status = record["status"]

    def fact(self, reading: str) -> Reading:
        """What was declared of a reading; by its name alone where nothing was."""
        return self.facts.get(reading) or Reading(reading)

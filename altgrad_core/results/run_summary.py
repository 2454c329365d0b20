"""What the records of one run hold that a study compares, from one pass over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core.contracts.reading import Reading, recorded_facts
from altgrad_core.records.record import number
from altgrad_core.results.lines import RecordReader


@dataclass
class Mean:
    """The mean of the finite values of a reading of one layer."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """One more value."""
        if math.isfinite(value):
            self.total, self.count = self.total + value, self.count + 1

    @property
    def mean(self) -> float | None:
        """None where no value was finite."""
        return self.total / self.count if self.count else None


@dataclass
class RunSummary:
    """The records of one run in short.

    Attributes:
        losses: step -> training loss.
        evaluations: step -> validation loss.
        readings: reading -> layer -> its mean over the run.
        facts: reading -> what its monitor declared of it.
        blocks: the losses of the validation blocks at the last step.
        broke: the record of what broke first.
        problem: what was damaged and left out, in words.
    """

    losses: dict[int, float] = field(default_factory=dict)
    evaluations: dict[int, float] = field(default_factory=dict)
    readings: dict[str, dict[str, Mean]] = field(default_factory=dict)
    facts: dict[str, Reading] = field(default_factory=dict)
    blocks: tuple[float, ...] = ()
    broke: dict[str, Any] | None = None
    problem: str | None = None

    @classmethod
    def of(cls, path: Path) -> RunSummary:
        """Read a record file; one that does not exist is empty."""
        summary, reader = cls(), RecordReader(path)
        for record in reader:
            summary._take(record)
        summary.problem = reader.problem
        return summary

    def _take(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        if kind == "began":
            self.facts |= recorded_facts(record)
        elif kind == "step":
            self.losses[record["step"]] = number(record["loss"])
        elif kind == "evaluation":
            self.evaluations[record["step"]] = number(record["loss"])
        elif kind == "blocks":
            self.blocks = tuple(number(loss) for loss in record["losses"])
        elif kind == "reading":
            layers = self.readings.setdefault(record["reading"], {})
            for layer, value in record["values"].items():
                layers.setdefault(layer, Mean()).add(number(value))
        elif kind == "broke" and self.broke is None:
            self.broke = record

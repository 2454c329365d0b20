"""What the records of one run hold that a study compares, from one pass over them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core.records.record import number


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
class Digest:
    """The records of one run in short.

    Attributes:
        losses: step -> training loss.
        evaluations: step -> validation loss.
        readings: reading -> layer -> its mean over the run.
        broke: the record of what broke first.
        damaged: lines that are no records, besides a torn last one.
        is_torn: the file ends within a line.
    """

    losses: dict[int, float] = field(default_factory=dict)
    evaluations: dict[int, float] = field(default_factory=dict)
    readings: dict[str, dict[str, Mean]] = field(default_factory=dict)
    broke: dict[str, Any] | None = None
    damaged: int = 0
    is_torn: bool = False

    @classmethod
    def of(cls, path: Path) -> Digest:
        """Read a record file; one that does not exist is empty."""
        digest = cls()
        for record in _lines(path, digest):
            try:
                digest._take(record)
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
                digest.damaged += 1
        return digest

    def _take(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        if kind == "step":
            self.losses[int(record["step"])] = number(record["loss"])
        elif kind == "evaluation":
            self.evaluations[int(record["step"])] = number(record["loss"])
        elif kind == "reading":
            layers = self.readings.setdefault(record["reading"], {})
            for layer, value in record["values"].items():
                layers.setdefault(layer, Mean()).add(number(value))
        elif kind == "broke" and self.broke is None:
            self.broke = record


def whole_records(path: Path) -> Iterator[dict[str, Any]]:
    """Every record of a file; a torn last line and lines that are no records are passed over."""
    yield from _lines(path, Digest())


def _lines(path: Path, digest: Digest) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                digest.is_torn = True
                return
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict) and isinstance(record.get("kind"), str):
                yield record
            else:
                digest.damaged += 1

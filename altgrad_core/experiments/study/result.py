"""One cell of a study: what it was to be, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from altgrad_core.records.directory import RunDirectory
from altgrad_core.results.ending import Ending
from altgrad_core.results.lines import RecordReader
from altgrad_core.results.run_summary import RunSummary


def is_loss(value: Any) -> bool:
    """Whether this is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Result:
    """One cell: what it was to be, and how it ended.

    Attributes:
        manifest: the resolved manifest as plain data; empty where there is none to read.
        ending: how it ended, or that it has not.
        format, optimizer, rate, seed, variant: its labels within the study.
        role: `cell`, or `probe` where it only helped to find the largest stable rate.
    """

    name: str
    directory: Path
    manifest: dict[str, Any]
    ending: Ending
    format: str
    optimizer: str
    rate: float | None
    seed: int | None
    variant: str
    environment: dict[str, Any] = field(default_factory=dict)
    identity: str | None = None
    role: str = "cell"

    def records(self) -> Iterator[dict[str, Any]]:
        """Every sound record; what is damaged is left out (`run_summary.problem` says it)."""
        yield from RecordReader(RunDirectory(self.directory).records)

    @cached_property
    def run_summary(self) -> RunSummary:
        """The records in short."""
        return RunSummary.of(RunDirectory(self.directory).records)

    @property
    def status(self) -> str:
        """`finished`, `diverged`, `stopped`, `crashed`, `unfinished` or `missing`."""
        return self.ending.status

    @property
    def summary(self) -> Mapping[str, Any]:
        """The content of `summary.json`; empty where there is none."""
        return self.ending.summary

    @property
    def validation_loss(self) -> float | None:
        """In nats per token at the end; None unless it finished with a finite one."""
        return self.ending.validation_loss if self.ending.is_stable else None

    @property
    def evaluations(self) -> dict[str, float]:
        """Recipe -> the loss of the trained weights under it, without any rounding first; empty where none was evaluated."""
        found = self.summary.get("evaluations")
        return {name: loss for name, loss in found.items() if is_loss(loss)} if isinstance(found, Mapping) else {}

    @property
    def reason(self) -> str | None:
        """Why it diverged, stopped or crashed, in words."""
        return self.ending.reason

    @property
    def has_ended(self) -> bool:
        """Whether it is a result: finished or diverged."""
        return self.status in ("finished", "diverged")

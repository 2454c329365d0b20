"""A tracker plugin: a sink that receives a copy of every record. It may fail or hang without touching the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat

from altgrad_core.contracts.options import Options

PATIENCE = 30.0
"""Seconds that a run waits for a tracker to begin, and to end, unless its options say otherwise."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told about the run.

    Attributes:
        name: of the run.
        directory: where the run keeps its files; a tracker may keep its own there.
        manifest: resolved, every default written out.
        group: the name of the study that the run is a cell of; None for a run alone.
        tags: the formats it computes in and the optimizers it trains with.
    """

    name: str
    directory: Path
    manifest: Mapping[str, Any]
    group: str | None = None
    tags: tuple[str, ...] = ()


class Tracker(ABC):
    """A connection to somewhere else. It is built, written to and closed in one thread, which is not the run's."""

    @abstractmethod
    def write(self, record: Mapping[str, Any]) -> None:
        """Receive one line of `records.jsonl` or `clock.jsonl`, as JSON has it; its `kind` says which."""

    @abstractmethod
    def close(self, status: str) -> str | None:
        """The run is over: `finished`, `diverged`, `stopped`, `interrupted` or `crashed`.

        A returned line (how to upload, where to look) is printed.
        """


class TrackerSpec(Options):
    """The options of a tracker. A subclass sets `name`, declares its options and writes `build`.

    Attributes:
        patience: seconds to wait for it to begin, and to end; after that the run goes on, or ends, without it.
    """

    patience: PositiveFloat = PATIENCE

    @abstractmethod
    def build(self, run: TrackedRun) -> Tracker:
        """Connect.

        Raises:
            PluginError: a package it needs is not installed; name the extra that brings it.
        """

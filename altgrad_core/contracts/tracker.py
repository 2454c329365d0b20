"""A tracker plugin: a sink that receives a copy of every record. It may fail without touching the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad_core.contracts.options import Options


@dataclass(frozen=True)
class RunFacts:
    """What a tracker is told about the run: its name, its directory and its resolved manifest."""

    name: str
    directory: Path
    manifest: Mapping[str, Any]


class Tracker(ABC):
    """A connection to somewhere else."""

    @abstractmethod
    def write(self, record: Mapping[str, Any]) -> None:
        """Receive one line of `records.jsonl` or `clock.jsonl`; its `kind` says which."""

    @abstractmethod
    def close(self, status: str) -> str | None:
        """The run is over. A returned line (how to upload, where to look) is printed."""


class TrackerSpec(Options):
    """The options of a tracker. A subclass sets `name`, declares its options and writes `build`."""

    @abstractmethod
    def build(self, run: RunFacts) -> Tracker:
        """Connect.

        Raises:
            PluginError: a package it needs is not installed; name the extra that brings it.
        """

"""What a command that begins or continues a run leaves: how the run ended, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad_core.errors import RunError
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.files import read_json
from altgrad_core.results.ending import Ending
from altgrad_core.running.session.describe import SUMMARY_KEYS


@dataclass(frozen=True)
class Outcome:
    """What a command that begins or continues a run leaves.

    Attributes:
        exit_code: as the command line returns it.
        is_earlier: the run had ended before this command.
    """

    directory: Path
    ending: Ending
    exit_code: int
    is_earlier: bool = False

    @property
    def status(self) -> str:
        """That of the ending; of a run that had ended before, with `already` in front of it."""
        return f"already {self.ending.status}" if self.is_earlier else self.ending.status


def already(directory: RunDirectory) -> Outcome:
    """The outcome of a run that ended before this command."""
    saved = read_json(directory.summary)
    if not saved.keys() >= SUMMARY_KEYS:
        raise RunError(f"{directory.summary}: is damaged: it lacks {', '.join(sorted(SUMMARY_KEYS - saved.keys()))}")
    return outcome_of(directory, saved, is_earlier=True)


def outcome_of(directory: RunDirectory, summary: Mapping[str, Any], *, is_earlier: bool = False) -> Outcome:
    """The outcome of a run that has a summary."""
    ending = Ending.of(summary)
    assert ending is not None
    return Outcome(directory.path, ending, exit_code_of(ending.status), is_earlier)


def exit_code_of(status: str) -> int:
    """0 where a run finished, else 4."""
    return 0 if status == "finished" else 4

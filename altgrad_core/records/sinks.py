"""Where records go: the two files, which are the truth, and trackers, which may fail."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record, RecordFile
from altgrad_core.records.tracker_thread import TrackerThread


class Sink(Protocol):
    """Takes the records of a run."""

    def happened(self, record: Record) -> None:
        """Take a record that follows from the manifest."""

    def noticed(self, record: Record) -> None:
        """Take a record that depends on the machine or the day."""


class Records:
    """Writes every record to its file, then hands the line to whoever listens.

    Trackers get it from threads, who never keep the run waiting. One that raises is counted, and left out after a few
    failures; one that hangs loses records. `altgrad track` hands them over later.
    """

    def __init__(
        self, directory: RunDirectory, *, trackers: Sequence[TrackerThread], show: Callable[[Record], None]
    ) -> None:
        self._directory = directory
        self._truth = RecordFile(directory.records)
        self._clock = RecordFile(directory.clock, drop_torn_line=True)
        self._threads = tuple(trackers)
        self._show = show

    def happened(self, record: Record) -> None:
        """A record that follows from the manifest."""
        self._directory.confirm()
        self._copy(record, self._truth.append(record))

    def noticed(self, record: Record) -> None:
        """A record that depends on the machine or the day."""
        self._copy(record, self._clock.append(record))

    def sync(self) -> tuple[int, str]:
        """Wait for the disk; the size of `records.jsonl` in bytes, and its SHA-256."""
        self._clock.sync()
        return self._truth.sync(), self._truth.sha256

    def cut_back(self, size: int, *, sha256: str | None) -> None:
        """Drop the records after `size` bytes, if those before have this SHA-256."""
        self._truth.cut_back(size, sha256=sha256)

    def close(self, status: str) -> None:
        """Close the trackers, all at once and for a limited time, and the files."""
        for thread in self._threads:
            thread.stop(status)
        for thread in self._threads:
            messages = [thread.end() or ""]
            self._pass_on(thread)
            if thread.missed:
                where = shlex.quote(str(self._directory.path))
                messages.append(f"{thread.missed} records did not reach it: altgrad track {where} --to {thread.name}")
            if message := "; ".join(filter(None, messages)):
                self._note({"kind": "tracker", "tracker": thread.name, "message": message})
        self._truth.close()
        self._clock.close()

    def _copy(self, record: Record, line: bytes) -> None:
        self._tell(record)
        for thread in self._threads:
            thread.send(line)
            self._pass_on(thread)

    def _pass_on(self, thread: TrackerThread) -> None:
        """Note what went wrong with a tracker."""
        for message in thread.news():
            self._note({"kind": "warning", "message": message})

    def _note(self, record: Record) -> None:
        """A record about a tracker, which no tracker gets; a full disk does without it."""
        with suppress(OSError):
            self._clock.append(record)
        self._tell(record)

    def _tell(self, record: Record) -> None:
        """Show a record; a terminal that is gone gets no more, and the run never notices."""
        try:
            self._show(record)
        except OSError:
            self._show = lambda record: None

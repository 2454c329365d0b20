"""Where records go: the two files, which are the truth, and trackers, which may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from altgrad_core.contracts.tracker import Tracker
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record, RecordFile

MOST_FAILURES = 3


class Records:
    """Writes every record to its file, then hands copies to whoever listens.

    A tracker that raises is counted, and left out after a few failures; the run never notices.
    """

    def __init__(
        self, directory: RunDirectory, *, trackers: Sequence[tuple[str, Tracker]], show: Callable[[Record], None]
    ) -> None:
        self._truth = RecordFile(directory.records)
        self._clock = RecordFile(directory.clock, drop_torn_line=True)
        self._trackers = list(trackers)
        self._failures = {name: 0 for name, _ in trackers}
        self._show = show

    def happened(self, record: Record) -> None:
        """A record that follows from the manifest."""
        self._truth.append(record)
        self._copy(record)

    def noticed(self, record: Record) -> None:
        """A record that depends on the machine or the day."""
        self._clock.append(record)
        self._copy(record)

    def sync(self) -> int:
        """Wait for the disk; the size of `records.jsonl` in bytes."""
        self._clock.sync()
        return self._truth.sync()

    def cut_back(self, size: int) -> None:
        """Drop the records after `size` bytes."""
        self._truth.cut_back(size)

    def close(self, status: str) -> None:
        """Close the files and the trackers."""
        for name, tracker in self._trackers:
            try:
                farewell = tracker.close(status)
            except Exception as error:  # a tracker is a sink: its failure is noted, never passed on
                farewell = f"closing failed: {type(error).__name__}: {error}"
            if farewell:
                with suppress(OSError):  # the run is over, and so may be the disk
                    self.noticed({"kind": "tracker", "tracker": name, "message": farewell})
        self._truth.close()
        self._clock.close()

    def _copy(self, record: Record) -> None:
        self._tell(record)
        for name, tracker in list(self._trackers):
            if self._failures[name] >= MOST_FAILURES:
                continue
            try:
                tracker.write(record)
            except Exception as error:  # as above
                self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self._failures[name] += 1
        end = "; it is left out from here on" if self._failures[name] == MOST_FAILURES else ""
        message = f"tracker {name} failed: {type(error).__name__}: {error}{end}"
        self._clock.append({"kind": "warning", "message": message})
        self._tell({"kind": "warning", "message": message})

    def _tell(self, record: Record) -> None:
        """Show a record; a terminal that is gone is not told again, and the run never notices."""
        try:
            self._show(record)
        except OSError:
            self._show = lambda record: None

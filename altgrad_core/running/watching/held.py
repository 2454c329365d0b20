"""Readings that wait for the record of their step."""

from __future__ import annotations

import warnings

from altgrad_core.records.record import Record, number
from altgrad_core.records.sinks import Records


class Held:
    """Keeps readings until `flush` writes them; what is wrong with a monitor is written and said at once.

    Attributes:
        latest: of every reading that was written, the mean over its layers at the last time.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._waiting: list[Record] = []
        self.latest: dict[str, float] = {}

    def happened(self, record: Record) -> None:
        """Keep a record."""
        self._waiting.append(record)

    def noticed(self, record: Record) -> None:
        """Write a warning, and say it."""
        self._records.noticed(record)
        warnings.warn(str(record["message"]), stacklevel=2)

    def flush(self) -> None:
        """Write what was kept."""
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            self._records.happened(record)
            if record["kind"] == "reading":
                values = [number(value) for value in record["values"].values()]
                self.latest[record["reading"]] = sum(values) / len(values)

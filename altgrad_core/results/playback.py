"""The records of a run in the order in which a tracker would have received them, however often it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator

from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record
from altgrad_core.results.lines import RecordReader


class Playback:
    """Iterates over every sound record of a run, and between them those of the clock that belong to a step.

    Warnings and what trackers said are of the day of the run, and left out.

    Attributes:
        status: how the run ended; `interrupted`, if it has not. Known once the records have been read.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._records, self._clock = RecordReader(directory.records), RecordReader(directory.clock)
        self.status = "interrupted"

    def __iter__(self) -> Iterator[Record]:
        clock = iter(self._clocked())
        waiting = next(clock, None)
        for record in self._records:
            step = record.get("step", 0)
            is_last = record["kind"] == "ended"
            while waiting is not None and (is_last or waiting["step"] < step):
                yield waiting
                waiting = next(clock, None)
            if is_last:
                self.status = record["status"]
            yield record
        while waiting is not None:
            yield waiting
            waiting = next(clock, None)

    @property
    def problems(self) -> list[str]:
        """What was damaged and left out, in words."""
        return [reader.problem for reader in (self._records, self._clock) if reader.problem is not None]

    def _clocked(self) -> list[Record]:
        """Records of the clock that belong to a step, without those of steps that a resumed run took again."""
        kept: list[Record] = []
        for record in self._clock:
            if record["kind"] == "resumed":
                kept = [earlier for earlier in kept if earlier["step"] <= record["step"]]
            elif "step" in record:
                kept.append(record)
        return kept

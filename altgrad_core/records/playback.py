"""The records of a run in the order in which a tracker would have received them, however often it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from altgrad_core.errors import RunError
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record, read_records


def playback(directory: RunDirectory) -> Iterator[Record]:
    """Every record of a run, and between them those of the clock that belong to a step.

    Warnings and what trackers said are of the day of the run, and left out.

    Raises:
        RunError: a line is damaged.
    """
    clock = _clock(directory.clock)
    waiting = next(clock, None)
    for record in _read(directory.records):
        step = record.get("step", 0)
        is_last = record["kind"] == "ended"
        while waiting is not None and (is_last or waiting["step"] < step):
            yield waiting
            waiting = next(clock, None)
        yield record
    while waiting is not None:
        yield waiting
        waiting = next(clock, None)


def status_of(directory: RunDirectory) -> str:
    """How the run ended; `interrupted`, if it has not."""
    ends = (str(record["status"]) for record in _read(directory.records) if record["kind"] == "ended")
    return next(ends, "interrupted")


def _clock(path: Path) -> Iterator[Record]:
    """Records of the clock that belong to a step, without those of steps that a resumed run took again."""
    kept: list[Record] = []
    for record in _read(path) if path.exists() else ():
        if record["kind"] == "resumed":
            kept = [earlier for earlier in kept if earlier["step"] <= record["step"]]
        elif "step" in record:
            kept.append(record)
    yield from kept


def _read(path: Path) -> Iterator[Record]:
    """Whole lines of a record file, each of them a record."""
    lines = read_records(path)
    for number in range(1, 1 << 62):
        try:
            record = next(lines, None)
        except (ValueError, RecursionError):
            raise RunError(f"{path}:{number}: is damaged: no JSON") from None
        if record is None:
            return
        if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
            raise RunError(f"{path}:{number}: is damaged: no record")
        yield record

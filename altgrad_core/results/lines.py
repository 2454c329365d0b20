"""The records of a run, whole or damaged: what is no record is skipped and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core.records.record import number

LONGEST_LINE = 64 * 2**20  # bytes; a longer line is damage, and is not held in memory


@dataclass
class RecordReader:
    """Iterates over the sound records of a file; what it skipped is known once they have been read.

    A record is sound if it is a JSON object with a `kind`, and has the keys of that kind, with values of their types.

    Attributes:
        damaged: the numbers of lines that are no sound records, besides a torn last one.
        is_torn: the file ends within a line, as a kill can leave it.
    """

    path: Path
    damaged: list[int] = field(default_factory=list)
    is_torn: bool = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.damaged, self.is_torn = [], False
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for at, line in enumerate(_lines(file.readline), 1):
                if not line.endswith(b"\n") and len(line) <= LONGEST_LINE:
                    self.is_torn = True
                elif (record := sound_record(line)) is None:
                    self.damaged.append(at)
                else:
                    yield record

    @property
    def problem(self) -> str | None:
        """What was skipped, in words; None where nothing was."""
        found = []
        if self.damaged:
            some = f"{len(self.damaged)} damaged lines are" if len(self.damaged) > 1 else "1 damaged line is"
            first = "the first is " if len(self.damaged) > 1 else ""
            found.append(f"{some} left out ({first}line {self.damaged[0]})")
        if self.is_torn:
            found.append("it ends within a line, which is left out")
        return f"{self.path.name}: {'; '.join(found)}" if found else None


def _lines(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Lines with their ends; of one that is too long, a piece that is longer than any line may be."""
    while piece := read(LONGEST_LINE + 1):
        yield piece
        while len(piece) > LONGEST_LINE and not piece.endswith(b"\n"):
            piece = read(LONGEST_LINE + 1)


def sound_record(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None where the line is damaged."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return None
    needed = KINDS.get(record["kind"], {})
    if not all(key in record and is_sound(record[key]) for key, is_sound in needed.items()):
        return None
    return record if _is_step(record.get("step", 0)) else None


def _is_number(value: Any) -> bool:
    try:
        number(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_table_of_numbers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_number(inner) for inner in value.values())


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


_ACTION = {"step": _is_step, "intervention": _is_text, "action": _is_text, "because": _is_text}
KINDS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "began": {"name": _is_text, "steps": _is_step},
    "resumed": {"step": _is_step, "steps": _is_step},
    "step": {"step": _is_step, "loss": _is_number, "learning_rate": _is_number, "gradient_norm": _is_number},
    "evaluation": {"step": _is_step, "loss": _is_number},
    "reading": {"step": _is_step, "monitor": _is_text, "reading": _is_text, "values": _is_table_of_numbers},
    "monitor-failed": {"step": _is_step, "monitor": _is_text, "reason": _is_text},
    "action": _ACTION,
    "overruled": _ACTION,
    "broke": {"step": _is_step, "phase": _is_text, "layer": _is_text, "role": _is_text_or_none, "what": _is_text},
    "ended": {"status": _is_text, "reason": _is_text_or_none},
    "clock": {"step": _is_step, "seconds": _is_number, "tokens_per_second": _is_number},
}
"""By kind, the keys that every record of it has, and what their values are."""

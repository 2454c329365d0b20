"""The records of a run, whole or damaged: what is no record is skipped and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core.files import open_regular
from altgrad_core.results.shapes import is_sound

LONGEST_LINE = 64 * 2**20  # bytes; a longer line is damage, and is not held in memory


@dataclass
class RecordReader:
    """Iterates over the sound records of a file; what it skipped is known once they have been read.

    A record is sound if it is a JSON object with a `kind`, and has the keys of that kind, with values of their types.
    A file that does not exist has no records.

    Attributes:
        damaged: the numbers of lines that are not sound records, besides a torn last one.
        is_torn: the file ends within a line, as a kill can leave it.
        unread: why the file, or the rest of it, could not be read, such as a named pipe in its place.
    """

    path: Path
    damaged: list[int] = field(default_factory=list)
    is_torn: bool = False
    unread: str | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.damaged, self.is_torn, self.unread = [], False, None
        for at, line in enumerate(self._read(), 1):
            if not line.endswith(b"\n") and len(line) <= LONGEST_LINE:
                self.is_torn = True
            elif (record := sound_record(line)) is None:
                self.damaged.append(at)
            else:
                yield record

    def _read(self) -> Iterator[bytes]:
        try:
            with open_regular(self.path) as file:
                yield from _lines(file.readline)
        except FileNotFoundError:
            return
        except OSError as error:
            self.unread = error.strerror or str(error)

    @property
    def problem(self) -> str | None:
        """What was skipped, in words; None where nothing was."""
        result = []
        if self.damaged:
            some = f"{len(self.damaged)} damaged lines are" if len(self.damaged) > 1 else "1 damaged line is"
            first = "the first is " if len(self.damaged) > 1 else ""
            result.append(f"{some} left out ({first}line {self.damaged[0]})")
        if self.is_torn:
            result.append("it ends within a line, which is left out")
        if self.unread is not None:
            result.append(f"cannot be read ({self.unread})")
        return f"{self.path.name}: {'; '.join(result)}" if result else None


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
        if b"\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()  # a file cannot hold half a surrogate pair
    except (ValueError, RecursionError):
        return None
    return record if is_sound(record) else None

"""Records: one JSON object a line, appended and flushed one by one.

A run writes two such files. `records.jsonl` holds everything that follows from the manifest: values, actions, events.
It is the same, byte for byte, however often the run was interrupted. `clock.jsonl` holds what depends on the machine
and the day: throughput, saves, resumes, warnings.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from altgrad_core.errors import RunError
from altgrad_core.files import read_whole

Record = Mapping[str, Any]
_NAMES = {math.inf: "Infinity", -math.inf: "-Infinity"}


def encode_record(record: Record) -> str:
    """One line of standard JSON; NaN and infinities become the strings "NaN", "Infinity" and "-Infinity"."""
    return json.dumps(_plain(record), separators=(",", ":"), allow_nan=False)


def number(value: Any) -> float:
    """The number a record holds, whether written as one or as "NaN" or "Infinity"."""
    return float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return _NAMES.get(value, "NaN")
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


class RecordFile:
    """An append-only file of records."""

    def __init__(self, path: Path, *, drop_torn_line: bool = False) -> None:
        self.path = path
        if drop_torn_line:
            _drop_torn_line(path)
        self._file = path.open("ab")
        self._digest = hashlib.sha256(read_whole(path))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far."""
        return self._digest.hexdigest()

    def append(self, record: Record) -> bytes:
        """Write one line and hand it to the operating system, so that it survives the end of this process; the line."""
        line = encode_record(record).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            error.filename = str(self.path)
            raise
        self._digest.update(line)
        return line

    def sync(self) -> int:
        """Wait until everything is on the disk; the size in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.size

    def cut_back(self, size: int, *, sha256: str | None = None) -> None:
        """Drop everything after `size` bytes; what is dropped is kept beside the file, as `NAME.tail-SIZE`.

        Args:
            sha256: what is left must have it.

        Raises:
            RunError: the file is shorter than that, or what would be left was altered; nothing is dropped then.
        """
        self._file.flush()
        raw = read_whole(self.path)
        if len(raw) < size:
            raise RunError(
                f"{self.path}: has {len(raw)} bytes, but {size} had been written at the time of "
                "the checkpoint; restore the whole file, or remove the checkpoints that are newer than it"
            )
        digest = hashlib.sha256(raw[:size])
        if sha256 is not None and digest.hexdigest() != sha256:
            raise RunError(
                f"{self.path}: its first {size} bytes are not those at the time of the checkpoint; restore the "
                "file, or remove the checkpoints that are newer than the damage"
            )
        self._digest = digest
        if len(raw) > size:
            self.path.with_name(f"{self.path.name}.tail-{size}").write_bytes(raw[size:])
            self._file.truncate(size)
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Close the file. What it cannot write now it could not write before, and said so then."""
        with suppress(OSError):
            self._file.close()


def _drop_torn_line(path: Path) -> None:
    """Remove a last line without an end, which a kill can leave, so that the next one does not continue it."""
    raw = read_whole(path) if path.exists() else b""
    if raw and not raw.endswith(b"\n"):
        os.truncate(path, raw.rfind(b"\n") + 1)

"""Whether the report of a finished study is up to date: by the sizes and times of the files that it was written from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from altgrad_core.errors import RunError
from altgrad_core.experiments.report.write import PAGE
from altgrad_core.records.directory import CELLS, REGISTRATION, RunDirectory
from altgrad_core.records.files import read_json, write_json

NOTE = "reported.json"


def state_of(study: Path, names: Iterable[str], origin: str) -> str:
    """SHA-256 of the names, sizes and times of what a report is written from: the plan, declarations, and all cells.

    Args:
        names: of the cells, all of which have ended; such a cell changes no more without a new summary.
        origin: see `Matrix.origin`.
    """
    found = hashlib.sha256(origin.encode())
    for path in (study / CELLS, study / REGISTRATION):
        found.update(f"{path.name} {_trace(path)}\n".encode())
    for name in names:
        found.update(f"{name} {_trace(RunDirectory(study / name).summary)}\n".encode())
    return found.hexdigest()


def said_before(study: Path, state: str) -> str | None:
    """What the report said that was written from the files in this state; None where there is none."""
    try:
        noted = read_json(study / NOTE)
    except (OSError, RunError):
        return None
    said = noted.get("said")
    is_same = noted.get("state") == state and noted.get("page") == _trace(study / PAGE)
    return said if is_same and isinstance(said, str) else None


def note(study: Path, state: str, said: str) -> None:
    """Note from which state of the files the report was written.

    Raises:
        OSError: the note cannot be written.
    """
    write_json(study / NOTE, {"state": state, "page": _trace(study / PAGE), "said": said})


def _trace(path: Path) -> str | None:
    """Size and time of a file; None where it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"

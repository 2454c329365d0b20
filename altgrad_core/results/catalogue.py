"""The runs and studies below a directory, from a look at their files that reads no record from its beginning."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from altgrad_core.errors import RunError
from altgrad_core.files import open_regular, read_whole
from altgrad_core.records.crash import crash_of
from altgrad_core.records.directory import CELLS, RunDirectory
from altgrad_core.records.files import read_json
from altgrad_core.records.record import number
from altgrad_core.results.ending import Ending
from altgrad_core.results.lines import sound_record
from altgrad_core.text import printable

RECENT = 60.0
"""Seconds since the last write within which an unfinished run counts as running, where its lock tells nothing."""
DEEPEST = 4  # folders below the one that is looked through
MOST_MANIFEST = 2**20  # bytes
TAIL = 2**16  # bytes at the end of the records in which the last step is looked for


@dataclass(frozen=True)
class Listed:
    """A run or a study on the disk.

    Attributes:
        place: its directory, relative to the one that was looked through, with `/`; `.` is that one itself. What no page and no
            terminal can show is written as an escape.
        status: of a run how it ended, or `running`, `crashed` or `unfinished`; of a study `running`, `finished` or `unfinished`.
        step, steps: of a run, how many steps it has taken, and of how many; None where that is not known.
        ended, cells: of a study, how many of its cells have ended, and how many there are.
        loss: of a run: validation loss at its end, or the last training loss, in nats per token.
        changed: when something was written to it last, in seconds since the epoch.
    """

    kind: Literal["run", "study"]
    place: str
    path: Path
    status: str
    changed: float
    step: int | None = None
    steps: int | None = None
    ended: int | None = None
    cells: int | None = None
    loss: float | None = None


def ago(seconds: float) -> str:
    """How long since, in the largest whole unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def loss(value: float | None) -> str:
    """A loss, or a dash."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def progress(listed: Listed) -> str:
    """How far a run or a study has come. A script that was continued with more steps than it promised has no known end."""
    if listed.kind == "study":
        return f"{listed.ended} of {listed.cells} cells"
    if listed.step is None:
        return "no step yet"
    return f"step {listed.step:,}" + (f" of {listed.steps:,}" if 0 < (listed.steps or 0) >= listed.step else "")


def catalogue(root: Path, *, now: float) -> list[Listed]:
    """Every study and run in `root` and below it, the newest first; a study is followed by its cells.

    Links are not followed. What cannot be read is left out.

    Args:
        now: the time in seconds since the epoch.
    """
    groups = list(_groups(root, root, now=now, deep=DEEPEST))
    groups.sort(key=lambda group: -group[0].changed)
    return [listed for group in groups for listed in group]


def under_way(path: Path, *, now: float) -> Listed | None:
    """The run in a directory if somebody trains it: its lock is held, or it was written to lately, and has not ended.

    Args:
        now: the time in seconds since the epoch.
    """
    result = _run(path, path, now)
    return result if result is not None and result.status == "running" else None


def _groups(root: Path, path: Path, *, now: float, deep: int) -> Iterator[list[Listed]]:
    folders = _folders(path)
    is_study = (path / CELLS).is_file()
    if is_study:
        runs = [result for folder in folders if (result := _run(root, folder, now)) is not None]
        yield [_study(root, path, runs), *sorted(runs, key=lambda run: run.place)]
    elif (result := _run(root, path, now)) is not None:
        yield [result]
    elif deep:
        for folder in folders:
            yield from _groups(root, folder, now=now, deep=deep - 1)


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            folders = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(folder for folder in folders if os.access(folder, os.R_OK | os.X_OK))


def _study(root: Path, path: Path, runs: list[Listed]) -> Listed:
    planned = _json(path / CELLS).get("cells")
    cells = max(len(planned) if isinstance(planned, list) else 0, len(runs))
    ended = sum(run.status not in ("running", "unfinished", "crashed") for run in runs)
    is_running = any(run.status == "running" for run in runs)
    status = "running" if is_running else "finished" if ended == cells else "unfinished"
    changed = max([_changed(path / CELLS), *(run.changed for run in runs)])
    return Listed("study", _place(root, path), path, status, changed, ended=ended, cells=cells)


def _run(root: Path, path: Path, now: float) -> Listed | None:
    directory = RunDirectory(path)
    if not (directory.is_begun or directory.is_finished or directory.records.is_file()):
        return None
    changed = max(
        _changed(file) for file in (directory.records, directory.clock, directory.summary, directory.resolved)
    )
    ending = Ending.of(_json(directory.summary))
    step, loss = _last_step(directory.records)
    if ending is not None:
        loss = ending.validation_loss if ending.is_stable else None
    status = ending.status if ending is not None else _status_without_end(directory, now - changed)
    return Listed("run", _place(root, path), path, status, changed, step=step, steps=_steps(directory), loss=loss)


def _status_without_end(directory: RunDirectory, age: float) -> str:
    has_crashed, is_held = crash_of(directory) is not None, directory.is_held
    if (age < RECENT and not has_crashed) if is_held is None else is_held:
        return "running"
    return "crashed" if has_crashed else "unfinished"


def _last_step(path: Path) -> tuple[int | None, float | None]:
    """The last step that was recorded, and its training loss."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL))
            lines = file.read(TAIL).splitlines(keepends=True)
    except OSError:
        return None, None
    for line in reversed(lines):
        record = sound_record(line) if line.endswith(b"\n") else None
        if record is not None and record["kind"] == "step":
            return record["step"], number(record["loss"])
    return None, None


def _steps(directory: RunDirectory) -> int | None:
    """How many steps the resolved manifest asks for."""
    try:
        run = tomllib.loads(read_whole(directory.resolved, most=MOST_MANIFEST).decode()).get("run")
    except (OSError, ValueError, RecursionError):
        return None
    steps = run.get("steps") if isinstance(run, dict) else None
    return steps if isinstance(steps, int) and not isinstance(steps, bool) else None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        return read_json(path)
    except (OSError, RunError):
        return {}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _place(root: Path, path: Path) -> str:
    return printable(path.relative_to(root).as_posix())

"""Where a command may write what a user asks for: not over a file of a run or of a study, and not over a device."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.records.directory import CELLS, REGISTRATION, RunDirectory
from altgrad_core.records.files import name_beside, write_whole


def check_output_place(out: Path, *, option: str = "--out", is_directory: bool = False) -> None:
    """Before the work: refuse a place that names no file, one that cannot be written, or what must not be replaced.

    That is a device, a pipe, or a file that a run or a study needs.

    Args:
        option: which gave the place, for the message.
        is_directory: a directory is written there, not a file.

    Raises:
        ManifestError: it names no file, or must not be replaced.
        RunError: it cannot be written.
    """
    if out.name in ("", ".."):
        raise ManifestError(f'{option}: "{out}" names no file; expected one, such as {option} {out / "result"}')
    if out.exists() and not (out.is_file() or out.is_dir()):
        raise ManifestError(f"{option} {out}: is not a regular file; choose another place")
    path = Path(os.path.realpath(out.parent), out.name)
    for folder in path.parents:
        if path in _own_files(folder) or (path.is_relative_to(RunDirectory(folder).checkpoints) and _is_run(folder)):
            raise ManifestError(f"{option} {out}: is a file of the run or study in {folder}; choose another place")
    if out.is_dir() and not is_directory:
        raise ManifestError(f"{option} {out}: is a directory; name a file, such as {option} {out / 'result'}")
    if (error := writing_error(out)) is not None:
        raise RunError(f"{option} {out}: {unwritten(error)}")


def writing_error(out: Path) -> OSError | None:
    """What keeps a file or directory from being written: tried with an empty file, in the nearest directory there is."""
    try:
        folder = next(folder for folder in out.absolute().parents if folder.exists())
        probe = folder / name_beside(out)
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error
    return None


def write_output(out: Path, content: bytes) -> None:
    """Write a file that a user asked for, whole or not at all, and the directories above it.

    Raises:
        RunError: it cannot be written.
    """
    try:
        if not out.parent.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, content)
    except OSError as error:
        raise RunError(f"{out}: {unwritten(error)}") from None


def unwritten(error: Exception) -> str:
    """Why an output cannot be written, and what to try."""
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"cannot be written: {reason}; {'free some space, or ' if is_full else ''}choose another place"


def _own_files(folder: Path) -> tuple[Path, ...]:
    """The files of the run or study that is in this very folder; none where there is neither."""
    of_run = RunDirectory(folder).files if _is_run(folder) else ()
    of_study = (folder / CELLS, folder / REGISTRATION, folder / "manifest.toml") if (folder / CELLS).is_file() else ()
    return of_run + of_study


def _is_run(folder: Path) -> bool:
    directory = RunDirectory(folder)
    return directory.is_begun or directory.records.is_file()

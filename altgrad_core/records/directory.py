"""The directory of one run, and the lock that gives it one writer."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType

from altgrad_core.errors import AltgradError, ManifestError, RunError
from altgrad_core.records.lock import Lock, is_held
from altgrad_core.text import LATEST, unusable_name

RUNS = "runs"
LOCK = "run.lock"
CELLS = "cells.json"
"""In the directory of a study: the cells it has, each in a run directory beside it."""
REGISTRATION = "registration.json"
"""In the directory of a study: what it declared before it was trained."""


class DirectoryInUse(RunError):
    """Another process is writing to the directory of a run."""


class _FileName:
    """The path of a file in the directory, made when it is asked for: studies look at a hundred thousand directories."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, directory: RunDirectory, owner: type) -> Path:
        return directory.path / self._name


class RunDirectory:
    """Names of the files of a run. Used as a context manager it holds the lock."""

    manifest = _FileName("manifest.toml")
    resolved = _FileName("resolved.toml")
    environment = _FileName("env.json")
    parent = _FileName("parent.json")
    records = _FileName("records.jsonl")
    clock = _FileName("clock.jsonl")
    summary = _FileName("summary.json")
    failure = _FileName("failure.md")
    failure_data = _FileName("failure.json")
    checkpoints = _FileName("checkpoints")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []

    @cached_property
    def _lock(self) -> Lock:
        return Lock(self.path / LOCK)

    @property
    def is_begun(self) -> bool:
        """Whether a run has been started here."""
        return self.resolved.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the run here has ended for good."""
        return self.summary.exists()

    @property
    def is_held(self) -> bool | None:
        """Whether a process has the lock and may write; None where that cannot be known from here."""
        return is_held(self.path / LOCK)

    def refuse_links(self) -> None:
        """Refuse to write through a symbolic link, which may point at another run, or to what is no file, such as a pipe.

        Raises:
            ManifestError: the directory itself is a link, such as `runs/latest`.
            RunError: a file or folder of the run is one, or is neither file nor folder.
        """
        if self.path.is_symlink():
            raise ManifestError(
                f"{self.path}: is a symbolic link to {self.path.readlink()}, and nothing is written through a link; "
                "name another directory with --out"
            )
        files = (self.path / LOCK, *self.path.glob("records.jsonl.tail-*"), *self.files)
        for path in (*files, self.checkpoints, *self.checkpoints.glob("step-*")):
            if path.is_symlink():
                raise RunError(
                    f"{path}: is a symbolic link to {path.readlink()}, and nothing is written through a link; "
                    "put what it points at in its place, or remove it"
                )
            if path.exists() and not (path.is_file() if path in files else path.is_dir()):
                expected = "regular file" if path in files else "directory"
                raise RunError(f"{path}: is not a {expected}, and a run needs one there; remove it")

    def refuse_to_overwrite(self) -> None:
        """Refuse to start a run where there is one already.

        Raises:
            ManifestError: it is finished, or it is unfinished and can be resumed.
        """
        if self.is_finished:
            raise ManifestError(
                f"{self.path}: a finished run of another manifest is here; look at {self.summary}, "
                "choose another directory with --out, or pass --overwrite to delete it and start again"
            )
        if (self.path / CELLS).exists():
            raise ManifestError(f"{self.path}: a study of many runs is here; choose another directory with --out")
        if self.is_begun or self.records.exists() or self.checkpoints.exists():
            raise ManifestError(
                f"{self.path}: an unfinished run is here; continue it with: altgrad resume {self.path}\n"
                "or choose another directory with --out, or pass --overwrite to delete it and start again"
            )

    def clear(self) -> None:
        """Delete the run that is here, and nothing that is not a run's; the lock stays.

        `resolved.toml` goes last: cut short, this leaves an unfinished run, never old checkpoints for a new one to find.
        """
        self.summary.unlink(missing_ok=True)
        for checkpoint in self.checkpoints.glob("step-*"):
            shutil.rmtree(checkpoint)
        for path in (*self.path.glob("records.jsonl.tail-*"), *self.files):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: then it stays
            self.checkpoints.rmdir()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that a run writes, in the order in which they are deleted."""
        outcome = (self.summary, self.records, self.clock, self.failure, self.failure_data)
        return (*outcome, self.manifest, self.environment, self.parent, self.resolved)

    def __enter__(self) -> RunDirectory:
        self.refuse_links()
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            is_held = self._lock.acquire()
        except (NotADirectoryError, FileExistsError):
            raise RunError(f"{self.path}: is not a directory; choose another place with --out") from None
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written to: {error.strerror}; {self._way_out()}") from None
        if not is_held:
            raise DirectoryInUse(f"{self.path}: another process is writing to this run directory; wait for it to end")
        return self

    @property
    def notice(self) -> str | None:
        """How the lock is kept, where that is not by file locks alone."""
        return self._lock.notice

    def confirm(self) -> None:
        """Before something is written: is the lock still held?

        Raises:
            RunError: another process has taken over.
        """
        self._lock.confirm()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, AltgradError):
            self._leave_nothing()
        self._lock.release()

    def _way_out(self) -> str:
        """What to try where nothing can be written: a run that is here already cannot go to another place with --out."""
        if os.path.exists(self.resolved):  # noqa: PTH110 - `Path.exists` raises where it may not look
            return "make it writable, or copy it to another place and name the copy"
        return "choose another place with --out"

    def _leave_nothing(self) -> None:
        """Remove the directories that were made for a run that is refused, while nothing but the lock is in them."""
        if self.path in self._made and all(path.name.startswith(LOCK) for path in self.path.iterdir()):
            with suppress(OSError):
                for path in self.path.iterdir():
                    path.unlink()
                for path in self._made:
                    path.rmdir()


def default_directory(name: str) -> Path:
    """Where a run or a study goes that is given no directory.

    Raises:
        ManifestError: no directory can have this name, which a file can give that names no run.
    """
    if (problem := unusable_name(name)) is not None:
        raise ManifestError(f"run.name: {problem}; name the run in the manifest, or its directory with --out")
    return Path(RUNS, name)


def mark_latest(path: Path) -> None:
    """Point `runs/latest` at a run in `runs`; a file system without links goes without."""
    if path.absolute().parent.name != RUNS or path.name == LATEST:
        return
    link = path.parent / LATEST
    fresh = path.parent / f".{LATEST}.{os.getpid()}"
    try:
        if link.exists() and not link.is_symlink():
            return
        fresh.symlink_to(path.name)
        fresh.replace(link)
    except OSError:
        fresh.unlink(missing_ok=True)

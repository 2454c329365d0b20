"""Checkpoints on disk: each a new directory that is either whole and verified, or ignored by name.

Order: files, fsync; `checkpoint.json` with their sizes and SHA-256, fsync; rename; fsync of the parent.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from altgrad_core.errors import RunError
from altgrad_core.files import read_whole
from altgrad_core.records.files import sync_directory

SEAL = "checkpoint.json"
_NAME = re.compile(r"step-(\d+)")
_FILE = re.compile(r"[a-z]+\.(json|safetensors)")
MOST_SEAL_BYTES = 1 << 20


def write_checkpoint(root: Path, step: int, files: Mapping[str, bytes]) -> Path:
    """Write and verify `root/step-N`; a failure removes what was begun and leaves everything else alone.

    Raises:
        OSError: the disk refused, or does not give back what was written.
    """
    if not root.is_dir():
        root.mkdir(parents=True)
        sync_directory(root.parent)
    final, beside = root / f"step-{step}", root / f"step-{step}.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        for name, content in files.items():
            _write_through(beside / name, content)
        _write_through(beside / SEAL, _seal({name: _fact(content) for name, content in files.items()}))
        sync_directory(beside)
        _verify(beside)
        if final.exists():  # of a run that was started again, or a damaged one that was passed over
            shutil.rmtree(final)
        beside.rename(final)
        sync_directory(root)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return final


def read_checkpoint(path: Path) -> dict[str, bytes]:
    """Every file of a checkpoint, each compared with its recorded size and SHA-256.

    Raises:
        RunError: something is missing, truncated or altered; the message names the file.
    """
    seal = _read_seal(path)
    files = {}
    for name, fact in seal.items():
        try:
            size = (path / name).stat().st_size
            if size != fact["bytes"]:
                raise RunError(f"{path}: {name} has {size} bytes, expected {fact['bytes']}")
            files[name] = read_whole(path / name)
        except OSError as error:
            raise RunError(f"{path}: {name} cannot be read: {error.strerror}") from None
        if _fact(files[name]) != fact:
            raise RunError(f"{path}: {name} was altered: its SHA-256 is not the recorded one")
    return files


def checkpoint_steps(root: Path) -> list[int]:
    """The steps of the checkpoints in a directory, newest first, whether they are whole or not."""
    if not root.is_dir():
        return []
    return sorted((int(m[1]) for p in root.iterdir() if (m := _NAME.fullmatch(p.name))), reverse=True)


def newest_checkpoint(root: Path) -> tuple[int, dict[str, bytes], list[str]] | None:
    """The newest checkpoint that verifies: step, files, and why newer ones were passed over. None: there is none.

    Raises:
        RunError: there are checkpoints, and none verifies; the message lists them.
    """
    passed_over: list[str] = []
    for step in checkpoint_steps(root):
        try:
            return step, read_checkpoint(root / f"step-{step}"), passed_over
        except RunError as error:
            passed_over.append(str(error))
    if passed_over:
        raise RunError("no checkpoint is usable:\n  " + "\n  ".join(passed_over))
    return None


def prune(root: Path, *, newest: int, keep: int, also: Iterable[int]) -> None:
    """Remove what killed writes left, and all but `keep` checkpoints up to step `newest` and those of the steps `also`.

    Checkpoints of later steps were passed over as damaged; they count for nothing, and stay until written again.
    """
    for leftover in root.glob("step-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    for step in [step for step in checkpoint_steps(root) if step <= newest][keep:]:
        if step not in set(also):
            shutil.rmtree(root / f"step-{step}", ignore_errors=True)


def _seal(files: Mapping[str, object]) -> bytes:
    """The facts of the files, and the SHA-256 of those facts, so that the seal vouches for itself too."""
    facts = json.dumps(files, sort_keys=True)
    return json.dumps({"files": files, "sha256": hashlib.sha256(facts.encode()).hexdigest()}, sort_keys=True).encode()


def _verify(path: Path) -> None:
    try:
        read_checkpoint(path)
    except RunError as error:
        raise OSError(errno.EIO, f"what was written cannot be read back: {error}") from error


def _read_seal(path: Path) -> dict[str, dict[str, object]]:
    try:
        raw = read_whole(path / SEAL, most=MOST_SEAL_BYTES)
        files = json.loads(raw)["files"]
        is_whole = raw == _seal(files) and all(
            _FILE.fullmatch(name) and fact.keys() == {"bytes", "sha256"} for name, fact in files.items()
        )
    except OSError as error:
        raise RunError(f"{path}: {SEAL} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_whole, files = False, {}
    if not is_whole:
        raise RunError(f"{path}: {SEAL} is damaged")
    return dict(files)


def _fact(content: bytes) -> dict[str, object]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())

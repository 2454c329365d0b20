"""Whether the manifest that a directory shows is the one that its checkpoint was trained with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from altgrad_core.errors import RunError
from altgrad_core.files import read_whole
from altgrad_core.records.directory import RunDirectory
from altgrad_core.running.state.checkpoint import checkpoint_steps

LARGEST = 2**20  # bytes of progress.json, which has some hundred


def manifest_hash(directory: RunDirectory) -> str:
    """SHA-256 of `resolved.toml`, which every checkpoint records."""
    return hashlib.sha256(read_whole(directory.resolved)).hexdigest()


def refuse_another_manifest(directory: RunDirectory, step: int, files: Mapping[str, bytes]) -> None:
    """What the directory says of a run, and what the run was trained with, must be the same.

    Args:
        step, files: the checkpoint.

    Raises:
        RunError: they differ, or the checkpoint does not say.
    """
    if _recorded(files.get("progress.json", b"")) != manifest_hash(directory):
        path = directory.resolved
        raise RunError(
            f"{path}: is not the manifest that the checkpoint of step {step} was trained with; restore that one, or start "
            "a separate run from there: "
            f"altgrad run {path} --from {directory.path}@{step} --out ANOTHER_DIRECTORY"
        )


def step_of_another_manifest(directory: RunDirectory) -> int | None:
    """The step of the last checkpoint, if another manifest than `resolved.toml` trained it; None also where that is not known."""
    for step in checkpoint_steps(directory.checkpoints)[:1]:
        try:
            theirs = _recorded(read_whole(directory.checkpoints / f"step-{step}" / "progress.json", most=LARGEST))
            return step if theirs is not None and theirs != manifest_hash(directory) else None
        except OSError:
            return None
    return None


def _recorded(progress: bytes) -> str | None:
    """The hash in `progress.json`; None where that is damaged, or has none."""
    try:
        found = json.loads(progress)["manifest_sha256"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, str) else None

"""Whether the manifest that a directory shows is the one that its checkpoint was trained with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from altgrad_core.errors import RunError
from altgrad_core.files import read_whole
from altgrad_core.records.directory import RunDirectory


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
    try:
        theirs = json.loads(files["progress.json"])["manifest_sha256"]
    except (KeyError, TypeError, ValueError, RecursionError):
        theirs = None
    if theirs != manifest_hash(directory):
        path = directory.resolved
        raise RunError(
            f"{path}: is not the manifest that the checkpoint of step {step} was trained with; restore that one, or start "
            "a separate run from there: "
            f"altgrad run {path} --from {directory.path}@{step} --out ANOTHER_DIRECTORY"
        )

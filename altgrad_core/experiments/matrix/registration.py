"""Registers what a confirmatory study declares, before its first cell is trained."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.study.registration import Registration, read_registrations, write_registrations

NO_NUMBERS = ("executor", "tracker")
PLACES = ("name", "device")


def hash_of(matrix: Matrix) -> str:
    """SHA-256 of a study's manifest, with all that it extends and all settings of the command line.

    It is that of JSON with sorted keys, without what changes no number: executor, trackers, name and device.
    """
    data = {key: value for key, value in matrix.source.data.items() if key not in NO_NUMBERS}
    if isinstance(run := data.get("run"), dict):
        data["run"] = {key: value for key, value in run.items() if key not in PLACES}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def register(matrix: Matrix, study: Path, *, ended: int) -> None:
    """Add what the manifest declares to the study's registrations, where the last one is of another manifest.

    Args:
        ended: how many cells have ended.

    Raises:
        OSError: the file cannot be read or written.
        RunError: it is damaged.
    """
    confirms, margin = matrix.table.confirms, matrix.table.margin
    if confirms is None or margin is None:
        return
    known, sha256 = read_registrations(study), hash_of(matrix)
    if known and known[-1].sha256 == sha256:
        return
    date = datetime.now(UTC).isoformat(timespec="seconds")
    fresh = Registration(date, sha256, ended, confirms.hypothesis, margin, confirms.analysis)
    write_registrations(study, [*known, fresh])

"""Whether a run has crashed, as its failure report tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altgrad_core.errors import RunError
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.files import read_json


def crash_of(directory: RunDirectory) -> Mapping[str, Any] | None:
    """The content of `failure.json`, if the run crashed and was not taken further since; it has `status` and `reason`."""
    try:
        is_last = directory.failure_data.stat().st_mtime_ns >= directory.records.stat().st_mtime_ns
        report = read_json(directory.failure_data)
    except (OSError, RunError):
        return None
    return report if is_last and report.get("status") == "crashed" and not directory.is_finished else None

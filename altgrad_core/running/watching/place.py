"""The run directory of a script that is watched: begun, continued, ended."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import tomlkit

from altgrad_core.errors import ManifestError, RunError, reason_of
from altgrad_core.records.diagnosis import as_markdown, diagnose
from altgrad_core.records.directory import RunDirectory, mark_latest
from altgrad_core.records.files import write_json, write_whole
from altgrad_core.records.record import encode_record
from altgrad_core.records.sinks import Records
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.assembly.environment import describe_environment
from altgrad_core.running.watching.script import Script
from altgrad_core.text import as_bytes


class Place:
    """A run directory with its lock and its records, which this process writes until `close`."""

    def __init__(self, script: Script, directory: RunDirectory, *, resume: bool) -> None:
        self.directory = directory
        with ExitStack() as stack:
            stack.enter_context(directory)
            self.records = self._continue() if resume else self._begin(script)
            self._lock = stack.pop_all()

    def _begin(self, script: Script) -> Records:
        directory = self.directory
        if directory.is_begun or directory.is_finished or directory.records.exists():
            raise ManifestError(
                f"{directory.path}: a run is here; choose another directory with out=, delete this one, or continue it "
                "with resume=True and watch.load_state_dict(what watch.state_dict() returned)"
            )
        device = next(script.model.parameters()).device
        write_json(directory.environment, describe_environment(device, script.plugins))
        write_whole(directory.resolved, tomlkit.dumps(script.manifest()).encode())
        mark_latest(directory.path)
        records = self._records()
        records.happened(script.began())
        return records

    def _continue(self) -> Records:
        directory = self.directory
        if not directory.records.exists():
            raise RunError(f"{directory.path}: resume=True, but no run is here; give the directory of the saved state")
        return self._records()

    def cut_back(self, size: int, *, sha256: str) -> None:
        """Drop the records that are later than a saved state, and the summary."""
        self.directory.summary.unlink(missing_ok=True)
        self.records.cut_back(size, sha256=sha256)

    def _records(self) -> Records:
        return Records(self.directory, trackers=(), show=lambda record: None)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Write the summary."""
        self.records.sync()
        write_json(self.directory.summary, json.loads(encode_record(summary)))

    def crash(self, script: Script, step: int, error: BaseException) -> None:
        """Write the failure report, with the traceback."""
        result = diagnose(RecordReader(self.directory.records))
        result = replace(result, name=script.name, step=step, status="crashed", reason=reason_of(error))
        trace = "".join(traceback.format_exception(error))
        text = f"{as_markdown(result)}\n## Where it crashed\n\n```text\n{trace.rstrip()}\n```\n"
        write_whole(self.directory.failure, as_bytes(text))
        write_json(self.directory.failure_data, json.loads(encode_record(result.plain())))

    def close(self, status: str) -> None:
        """Close the records, and leave the directory to others."""
        self.records.close(status)
        self._lock.close()

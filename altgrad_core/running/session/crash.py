"""What a run leaves when it did not finish: `failure.md`, and the error that is told."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace

from altgrad_core.errors import RunError, reason_of
from altgrad_core.records.diagnosis import Diagnosis, diagnose
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.files import write_json, write_whole
from altgrad_core.records.record import encode_record
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.session.describe import (
    failure,
)
from altgrad_core.text import as_bytes


def crashed(run: Run, directory: RunDirectory, error: BaseException) -> RunError:
    """What is raised in place of an exception that ended a run, once `failure.md` is written."""
    reason = reason_of(error)
    if not report_crash(run, directory, reason):
        return RunError(f"crashed after step {run.progress.step}: {reason}")
    return RunError(
        f"crashed after step {run.progress.step}: {reason}\nThe traceback is in {directory.failure}; "
        f"once its cause is gone: altgrad resume {directory.path}"
    )


def report_crash(run: Run, directory: RunDirectory, reason: str) -> bool:
    """Write the failure report, with the traceback of the exception being handled; whether the disk took it."""
    try:
        result = replace(
            diagnosed(directory),
            name=run.name,
            steps=run.steps,
            step=run.progress.step,
            status="crashed",
            reason=reason,
        )
        report_failure(directory, result, trace=traceback.format_exc())
    except OSError:
        return False
    return True


def diagnosed(directory: RunDirectory) -> Diagnosis:
    """What the records tell; damaged ones tell nothing, and do not keep a run from ending."""
    try:
        return diagnose(RecordReader(directory.records))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        reason = f"{directory.records}: is damaged ({type(error).__name__}: {error})"
        return replace(diagnose(()), failures={"every monitor": reason})


def report_failure(directory: RunDirectory, result: Diagnosis, *, trace: str = "") -> None:
    """Write `failure.md`, and the same as `failure.json`."""
    write_whole(directory.failure, as_bytes(failure(result, directory, trace=trace)))
    write_json(directory.failure_data, json.loads(encode_record(result.plain())))

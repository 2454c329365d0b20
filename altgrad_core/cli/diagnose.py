"""`altgrad diagnose RUN_DIR`: what broke first, or which layer is the weakest."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.options import JsonOption
from altgrad_core.cli.terminal import say


def diagnose(
    run_dir: Annotated[Path, typer.Argument(help="The directory of the run.")],
    json: JsonOption = False,
) -> None:
    """Find what failed first in RUN_DIR and what led to it; in a sound run, the weakest layer."""
    from dataclasses import replace

    from rich.markdown import Markdown

    from altgrad_core.cli.console import Console
    from altgrad_core.errors import ManifestError, RunError
    from altgrad_core.records.crash import crash_of
    from altgrad_core.records.diagnosis import as_markdown
    from altgrad_core.records.diagnosis import diagnose as read
    from altgrad_core.records.directory import CELLS, RunDirectory
    from altgrad_core.records.record import encode_record
    from altgrad_core.results.lines import RecordReader
    from altgrad_core.running.state.trained_with import step_of_another_manifest
    from altgrad_core.text import printable

    directory = RunDirectory(run_dir)
    if (run_dir / CELLS).exists():
        raise ManifestError(f"{run_dir}: is a study of many runs; name one of them, or see: altgrad report {run_dir}")
    if not directory.records.exists():
        raise ManifestError(f"{run_dir}: no run has been started here; start one with: altgrad run MANIFEST")
    records = RecordReader(directory.records)
    result = read(records)
    if records.unread is not None:
        raise RunError(f"{directory.records}: cannot be read ({records.unread}); restore the file of the run")
    if (crash := crash_of(directory)) is not None:
        result = replace(result, status="crashed", reason=f"{crash.get('reason')} (see {directory.failure})")
    if records.problem is not None:
        say(f"warning: {run_dir}: {records.problem}", err=True)
    if (step := step_of_another_manifest(directory)) is not None:
        say(f"warning: {directory.resolved}: is not the manifest of the checkpoint of step {step}", err=True)
    if json:
        print(json_module.dumps(json_module.loads(encode_record(result.plain())), indent=2))
    elif Console().is_terminal:
        Console().print(Markdown(as_markdown(result)))
    else:
        print(printable(as_markdown(result)), end="")

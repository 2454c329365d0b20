"""`altgrad resume RUN_DIR`: continue an interrupted run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altgrad_core.cli.options import JsonOption, NoImportsOption, ProcessesOption

if TYPE_CHECKING:
    from altgrad_core.cli.display import Display
    from altgrad_core.running.session.outcome import Outcome


def resume(
    run_dir: Annotated[Path, typer.Argument(help="The directory of the run.")],
    strict: Annotated[bool, typer.Option("--strict", help="Refuse if versions, threads or device differ.")] = False,
    no_imports: NoImportsOption = False,
    processes: ProcessesOption = 1,
    json: JsonOption = False,
) -> None:
    """Continue the run in RUN_DIR from its newest checkpoint, bit for bit as if it had never stopped."""
    from altgrad_core.cli.display import LOADING, displaying
    from altgrad_core.cli.summary import print_outcome
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.records.directory import RunDirectory
    from altgrad_core.running.parallel.launch import is_launched, launch

    _refuse(run_dir, no_imports=no_imports)
    if processes > 1 and not is_launched() and RunDirectory(run_dir).is_begun:
        raise typer.Exit(launch(sys.argv[1:], processes, load_manifest(RunDirectory(run_dir).resolved)))
    with displaying() as display:
        display.doing(LOADING)
        outcome, rank = _continue(run_dir, display, strict=strict)
    if rank == 0:
        print_outcome(outcome, as_json=json)
    raise typer.Exit(outcome.exit_code)


def _refuse(run_dir: Path, *, no_imports: bool) -> None:
    from altgrad_core.errors import ManifestError
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.records.directory import CELLS, RunDirectory
    from altgrad_core.running.assembly.import_path import refuse_imports

    if (run_dir / CELLS).exists():
        raise ManifestError(
            f"{run_dir}: is a study of many runs; continue it with: altgrad run MANIFEST --out {run_dir} "
            f"(its first manifest is named in {run_dir / CELLS})"
        )
    if no_imports and RunDirectory(run_dir).is_begun:
        refuse_imports(load_manifest(RunDirectory(run_dir).resolved))


def _continue(run_dir: Path, display: Display, *, strict: bool) -> tuple[Outcome, int]:
    """How it ended, and the number of this process among those that train it."""
    from altgrad_core.cli.display import Unshown
    from altgrad_core.cli.progress import shown_on
    from altgrad_core.records.directory import RunDirectory
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.parallel.processes import join
    from altgrad_core.running.session.session import resume as continue_run

    # the link may point elsewhere before the run ends
    directory = RunDirectory(Path(os.path.realpath(run_dir)) if run_dir.is_symlink() else run_dir)
    together = join()
    show = shown_on(Unshown() if together.rank else display, None)
    return continue_run(directory, installed(), strict=strict, show=show, processes=together), together.rank

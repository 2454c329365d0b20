"""`altgrad run MANIFEST`: train what a manifest describes."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altgrad_core.cli.options import (
    MOST_CELLS,
    DeviceOption,
    ExecutorOption,
    JsonOption,
    ManifestArgument,
    MaxCellsOption,
    OutOption,
    ProcessesOption,
    SetOption,
    StepsOption,
    flags,
    unshown,
)

if TYPE_CHECKING:
    from altgrad_core.manifest.load import ManifestFile
    from altgrad_core.registry.registry import Registry


def run(
    manifest: ManifestArgument,
    set: SetOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    steps: StepsOption = None,
    replay: Annotated[
        Path | None, typer.Option(help="Take the actions of that run again, in place of monitors and interventions.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="RUN_DIR@STEP", help="Begin with a checkpoint of another run.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Assemble, print the plan, take no step.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run that is in the directory.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Train so many cells of a matrix at a time.")] = 1,
    executor: ExecutorOption = None,
    max_cells: MaxCellsOption = MOST_CELLS,
    processes: ProcessesOption = 1,
    json: JsonOption = False,
) -> None:
    """Train what MANIFEST describes, every cell of it if it has a matrix, and leave everything in a directory."""
    from altgrad_core.cli.check import print_plan
    from altgrad_core.cli.progress import watching
    from altgrad_core.cli.summary import print_outcome
    from altgrad_core.errors import ManifestError
    from altgrad_core.manifest.load import load_manifest, with_tables
    from altgrad_core.records.directory import RunDirectory, default_directory
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.assemble import assemble
    from altgrad_core.running.assembly.resolve import resolve
    from altgrad_core.running.parallel.launch import is_launched, launch
    from altgrad_core.running.parallel.processes import join
    from altgrad_core.running.session.branch import Parent
    from altgrad_core.running.session.session import begin

    if processes > 1 and not is_launched():
        raise typer.Exit(launch(sys.argv[1:], processes))
    source = load_manifest(manifest, set or (), flags=flags(device=device, steps=steps, executor=executor))
    if "matrix" in source.data:
        if replay is not None or start is not None:
            raise ManifestError("--replay and --from begin a single run; this manifest has a [matrix]")
        if is_launched():
            raise ManifestError("several processes train a single run; the cells of a [matrix] are shared with --jobs")
        _run_cells(source, out, jobs=jobs, max_cells=max_cells, overwrite=overwrite, dry_run=dry_run, as_json=json)
        return
    if replay is not None:
        log, events = str(RunDirectory(replay.absolute()).records), ("Backpropagated", "Updated", "Evaluated")
        if not Path(log).exists():
            raise ManifestError(f"--replay {replay}: no run is there: no such file: {log}")
        use = _replaying(installed())
        tables = [{"use": use, "records": log, "event": event} for event in events]
        source = with_tables(source, "--replay", monitor=[], intervention=tables)
    resolved = resolve(source, installed())
    if dry_run:
        print_plan(assemble(resolved), as_json=json)
        return
    parent = None if start is None else Parent.of(start)
    directory = RunDirectory(default_directory(resolved.name) if out is None else out)
    together = join()
    with nullcontext(unshown) if together.rank else watching(resolved.manifest.run.steps) as show:
        outcome = begin(resolved, directory, overwrite=overwrite, show=show, parent=parent, processes=together)
    if together.rank == 0:
        print_outcome(outcome, as_json=json)
    raise typer.Exit(outcome.exit_code)


def _replaying(registry: Registry) -> str:
    """The intervention that takes recorded actions again."""
    from altgrad_core.errors import PluginError

    names = [entry.name for entry in registry if entry.kind == "intervention" and entry.item.replays]
    if not names:
        raise PluginError("--replay: no installed intervention takes recorded actions again; install the plugin of one")
    return names[0]


def _run_cells(
    source: ManifestFile, out: Path | None, *, jobs: int, max_cells: int, overwrite: bool, dry_run: bool, as_json: bool
) -> None:
    """Train every cell of a matrix, or tell which there are."""
    from altgrad_core.cli.matrix import print_cells, run_matrix
    from altgrad_core.experiments.matrix.cells import Matrix
    from altgrad_core.experiments.workers.choice import executor_of, executor_spec
    from altgrad_core.records.directory import default_directory
    from altgrad_core.registry.registry import installed

    executor_spec(source, installed())
    matrix = Matrix(source, installed(), most=max_cells)
    if dry_run:
        print_cells(matrix, as_json=as_json)
        return
    study = default_directory(matrix.name) if out is None else out
    with closing(executor_of(source, installed(), jobs=jobs)) as executor:
        code = run_matrix(matrix, study, executor=executor, overwrite=overwrite, as_json=as_json)
    raise typer.Exit(code)

"""`altgrad run MANIFEST`: train what a manifest describes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altgrad_core.cli.options import (
    MOST_CELLS,
    DeviceOption,
    ExecutorOption,
    JobsOption,
    JsonOption,
    ManifestArgument,
    MaxCellsOption,
    OutOption,
    ProcessesOption,
    SetOption,
    StepsOption,
    flags,
    refuse_without_matrix,
)

if TYPE_CHECKING:
    from altgrad_core.cli.display import Display
    from altgrad_core.manifest.load import ManifestFile
    from altgrad_core.registry.registry import Registry

Finish = Callable[[bool], int]
"""Prints how it ended, once the display is gone, as JSON if asked; returns the exit code."""


def run(
    manifest: ManifestArgument,
    set: SetOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    steps: StepsOption = None,
    replay: Annotated[
        Path | None, typer.Option(help="Repeat the actions recorded in that run, without monitors and interventions.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="RUN_DIR@STEP", help="Start from a checkpoint of another run.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Assemble the run and print the plan, without training.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete an existing run in the directory.")] = False,
    jobs: JobsOption = None,
    executor: ExecutorOption = None,
    max_cells: MaxCellsOption = None,
    processes: ProcessesOption = 1,
    json: JsonOption = False,
) -> None:
    """Train the run that MANIFEST describes, or every cell of its matrix, and record it in a directory."""
    from altgrad_core.cli.display import LOADING, displaying
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.running.parallel.launch import is_launched, launch

    options = flags(device=device, steps=steps, executor=executor)
    if processes > 1 and not is_launched():
        given = load_manifest(manifest, set or (), flags=options)
        refuse_without_matrix(given, jobs=jobs, max_cells=max_cells)
        raise typer.Exit(launch(sys.argv[1:], processes, given))
    with displaying() as display:
        display.doing(LOADING)
        source = _source(manifest, set or (), options, replay)
        refuse_without_matrix(source, jobs=jobs, max_cells=max_cells)
        if "matrix" in source.data:
            _refuse_for_a_matrix(source, replay, start)
            how = How(jobs=jobs or 1, max_cells=max_cells or MOST_CELLS, overwrite=overwrite, is_dry=dry_run)
            finish = _run_cells(source, out, how, display)
        elif dry_run:
            finish = _assembled(source, start)
        else:
            finish = _run_one(source, out, start, overwrite=overwrite, display=display)
    raise typer.Exit(finish(json))


def _source(manifest: Path, settings: Sequence[str], flags: Mapping[str, str], replay: Path | None) -> ManifestFile:
    """The manifest; where a run is replayed, with its actions in place of monitors and interventions."""
    from altgrad_core.errors import ManifestError
    from altgrad_core.manifest.load import load_manifest, with_tables
    from altgrad_core.records.directory import RunDirectory
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.scripted import RUN, refuse_script

    source = load_manifest(manifest, settings, flags=flags)
    refuse_script(source.data, manifest, RUN)
    if replay is None or "matrix" in source.data:
        return source
    log, events = str(RunDirectory(replay.absolute()).records), ("Backpropagated", "Updated", "Evaluated")
    if not Path(log).exists():
        raise ManifestError(f"--replay {replay}: no run is there: no such file: {log}")
    use = _replaying(installed())
    tables = [{"use": use, "records": log, "event": event} for event in events]
    return with_tables(source, "--replay", monitor=[], intervention=tables)


def _replaying(registry: Registry) -> str:
    """The intervention that takes recorded actions again."""
    from altgrad_core.errors import PluginError

    names = [entry.name for entry in registry if entry.kind == "intervention" and entry.item.replays]
    if not names:
        raise PluginError("--replay: no installed intervention repeats recorded actions; install a plugin with one")
    return names[0]


def _assembled(source: ManifestFile, start: str | None) -> Finish:
    """The plan of a single run."""
    from altgrad_core.cli.check import print_plan
    from altgrad_core.errors import ManifestError
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.assemble import assemble
    from altgrad_core.running.assembly.resolve import resolve

    if start is not None:
        raise ManifestError("--from: --dry-run looks at no checkpoint; leave out --from, or --dry-run")
    assembled = assemble(resolve(source, installed()))

    def finish(as_json: bool) -> int:
        print_plan(assembled, as_json=as_json)
        return 0

    return finish


def _run_one(source: ManifestFile, out: Path | None, start: str | None, *, overwrite: bool, display: Display) -> Finish:
    """Train a single run."""
    from altgrad_core.cli.display import Unshown
    from altgrad_core.cli.progress import shown_on
    from altgrad_core.cli.summary import print_outcome
    from altgrad_core.records.directory import RunDirectory, default_directory
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.resolve import resolve
    from altgrad_core.running.parallel.launch import is_restarted
    from altgrad_core.running.parallel.processes import join
    from altgrad_core.running.session.branch import Parent
    from altgrad_core.running.session.session import begin, begin_again

    resolved = resolve(source, installed())
    parent = None if start is None else Parent.of(start)
    directory = RunDirectory(default_directory(resolved.name) if out is None else out)
    together = join()
    show = shown_on(Unshown() if together.rank else display, resolved.manifest.run.steps)
    if is_restarted():
        outcome = begin_again(resolved, directory, show=show, parent=parent, processes=together)
    else:
        outcome = begin(resolved, directory, overwrite=overwrite, show=show, parent=parent, processes=together)

    def finish(as_json: bool) -> int:
        if together.rank == 0:
            print_outcome(outcome, as_json=as_json)
        return outcome.exit_code

    return finish


@dataclass(frozen=True)
class How:
    """How the cells of a matrix are trained."""

    jobs: int
    max_cells: int
    overwrite: bool
    is_dry: bool


def _refuse_for_a_matrix(source: ManifestFile, replay: Path | None, start: str | None) -> None:
    from altgrad_core.errors import ManifestError
    from altgrad_core.running.parallel.launch import is_launched, refuse_study

    if replay is not None or start is not None:
        raise ManifestError("--replay and --from begin a single run; this manifest has a [matrix]")
    if is_launched():
        refuse_study(source)


def _run_cells(source: ManifestFile, out: Path | None, how: How, display: Display) -> Finish:
    """Train every cell of a matrix, or tell which there are."""
    from altgrad_core.cli.matrix import print_cells, run_matrix
    from altgrad_core.experiments.matrix.cells import name_of
    from altgrad_core.experiments.matrix.known import matrix_in
    from altgrad_core.experiments.workers.choice import executor_of, executor_spec
    from altgrad_core.records.directory import default_directory
    from altgrad_core.registry.registry import installed

    executor_spec(source, installed())
    study = default_directory(name_of(source)) if out is None else out
    matrix = matrix_in(study, source, installed(), most=how.max_cells)
    if how.is_dry:

        def finish(as_json: bool) -> int:
            print_cells(matrix, as_json=as_json)
            return 0

        return finish
    with closing(executor_of(source, installed(), jobs=how.jobs)) as executor:
        return run_matrix(matrix, study, executor=executor, overwrite=how.overwrite, display=display)

"""`altgrad_core.run` and `altgrad_core.study`: train from a script or a notebook, into the same directories as the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.experiments.load import RunResult, StudyResult
from altgrad_core.experiments.matrix.cells import name_of
from altgrad_core.experiments.matrix.known import matrix_in
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.workers.choice import executor_of
from altgrad_core.experiments.workers.scheduler import train_cells
from altgrad_core.manifest.load import ManifestFile, load_manifest, manifest_of
from altgrad_core.records.directory import RunDirectory, default_directory
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.session import begin

MOST_CELLS = 1000
Manifest = str | Path | Mapping[str, Any]
"""The path of a manifest, or its tables."""


def run(
    manifest: Manifest, *, out: str | Path | None = None, set: Sequence[str] = (), overwrite: bool = False
) -> RunResult:
    """Train what a manifest describes. A run that is finished already is loaded.

    Args:
        manifest: the path of a file, or tables: `{"run": {"name": "a", "steps": 10}, "model": {...}, ...}`.
        out: the directory of the run; `runs/NAME` by default.
        set: changes such as `optimizer.lr=0.01`.
        overwrite: delete a run that is in the directory.

    Raises:
        ManifestError: the manifest has a mistake, or has a matrix (see `study`), or the directory holds another run.
        RunError: the directory cannot be written to, or the run crashed.
        KeyboardInterrupt: the run was interrupted; what it has is saved.
    """
    source = _source(manifest, set)
    if "matrix" in source.data:
        raise ManifestError(f"{source.path}: has a [matrix]; altgrad_core.study trains every cell of it")
    resolved = resolve(source, installed())
    directory = RunDirectory(default_directory(resolved.name) if out is None else Path(out))
    outcome = begin(resolved, directory, overwrite=overwrite, show=lambda record: None)
    if outcome.status == "interrupted":
        raise KeyboardInterrupt(f"saved; continue with: altgrad resume {directory.path}")
    return RunResult(Study.read(directory.path))


def study(
    manifest: Manifest,
    *,
    out: str | Path | None = None,
    set: Sequence[str] = (),
    jobs: int = 1,
    overwrite: bool = False,
) -> StudyResult:
    """Train every cell of a manifest with `[matrix]`. Cells that are finished already are kept.

    Args:
        manifest: as in `run`.
        out: as in `run`.
        set: as in `run`.
        overwrite: as in `run`.
        jobs: how many cells are trained at a time.

    Raises:
        ManifestError: the manifest has a mistake, or no matrix, or the directory holds another study.
        RunError: the directory cannot be written to, or a cell crashed twice.
        KeyboardInterrupt: the study was interrupted; what it has is saved.
    """
    source = _source(manifest, set)
    if "matrix" not in source.data:
        raise ManifestError(f"{source.path}: has no [matrix]; altgrad_core.run trains a single run")
    directory = default_directory(name_of(source)) if out is None else Path(out)
    matrix = matrix_in(directory, source, installed(), most=MOST_CELLS)
    with closing(executor_of(source, installed(), jobs=jobs)) as executor:
        outcome = train_cells(matrix, directory, executor=executor, overwrite=overwrite, show=lambda board, line: None)
    if outcome.signal is not None:
        raise KeyboardInterrupt(f"saved in {directory}; the same call continues it")
    if outcome.failed:
        name, reason = next(iter(outcome.failed.items()))
        raise RunError(f"{directory}: {len(outcome.failed)} cells crashed, first {name}: {reason}")
    return StudyResult(Study.read(directory))


def _source(manifest: Manifest, settings: Sequence[str]) -> ManifestFile:
    return manifest_of(manifest, settings) if isinstance(manifest, Mapping) else load_manifest(Path(manifest), settings)

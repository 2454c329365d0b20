"""`altgrad export RUN --out PATH`: the model of a run as codes and scales."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from altgrad_core.cli.options import NoImportsOption
from altgrad_core.cli.terminal import say


def export(
    run_dir: Annotated[Path, typer.Argument(help="The directory of the run.")],
    out: Annotated[Path, typer.Option("--out", help="The file or directory to write, such as model.safetensors.")],
    layout: Annotated[
        Literal["altgrad", "huggingface"],
        typer.Option(help="altgrad: one file; huggingface: a directory that from_pretrained reads."),
    ] = "altgrad",
    no_imports: NoImportsOption = False,
) -> None:
    """Write the model of the newest checkpoint of RUN_DIR as codes and scales."""
    from altgrad_core.errors import ManifestError, RunError
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.records.directory import CELLS, RunDirectory
    from altgrad_core.records.output_place import check_output_place
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.assemble import assemble
    from altgrad_core.running.assembly.import_path import refuse_imports
    from altgrad_core.running.assembly.resolve import resolve
    from altgrad_core.running.assembly.scripted import EXPORT, refuse_script
    from altgrad_core.running.state.checkpoint import newest_checkpoint
    from altgrad_core.running.state.trained_with import refuse_another_manifest

    check_output_place(out, is_directory=layout == "huggingface")
    directory = RunDirectory(run_dir)
    if (run_dir / CELLS).exists():
        raise ManifestError(f"{run_dir}: is a study of many runs; name one of them")
    if not directory.is_begun:
        raise ManifestError(f"{run_dir}: no run has been started here; start one with: altgrad run MANIFEST")
    source = load_manifest(directory.resolved)
    if no_imports:
        refuse_imports(source)
    refuse_script(source.data, run_dir, EXPORT)
    newest = newest_checkpoint(directory.checkpoints)
    if newest is None:
        raise RunError(f"{run_dir}: has no complete checkpoint to export")
    step, files, _ = newest
    refuse_another_manifest(directory, step, files)
    run = assemble(resolve(source, installed()))
    run.restore(files)
    run.plan.export(out, layout=layout)
    size = sum(file.stat().st_size for file in (out.iterdir() if out.is_dir() else [out]))
    say(f"{out}: {size:,} bytes, the model of {run.name} at step {step}")

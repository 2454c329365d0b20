"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altgrad_core.cli.names import complete_setting

if TYPE_CHECKING:
    from altgrad_core.manifest.load import ManifestFile

MOST_CELLS = 1000

ManifestArgument = Annotated[Path, typer.Argument(help="A manifest: TOML, or JSON or YAML of the same schema.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key, such as optimizer.lr=0.01. Repeatable.",
        autocompletion=complete_setting,
    ),
]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
ExecutorOption = Annotated[
    str | None, typer.Option(help="Where to train the cells of a matrix: one of `list-plugins --kind executor`.")
]
OutOption = Annotated[Path | None, typer.Option(help="The run directory itself; runs/NAME by default.")]
StepsOption = Annotated[
    int | None,
    typer.Option(
        help="Train for this many steps; unlike run.steps, they may be too few for the warm-up and for monitors."
    ),
]
JobsOption = Annotated[
    int | None, typer.Option(min=1, help="How many cells of a matrix to train at a time; 1 by default.")
]
MaxCellsOption = Annotated[
    int | None,
    typer.Option("--max-cells", min=1, help=f"The most cells that a matrix may have; {MOST_CELLS} by default."),
]
ProcessesOption = Annotated[
    int, typer.Option(min=1, help="How many processes of this machine share the micro-batches of every step.")
]
NoImportsOption = Annotated[
    bool, typer.Option("--no-imports", help="Refuse import paths in the manifest, for runs of somebody else.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def flags(*, device: str | None = None, steps: int | None = None, executor: str | None = None) -> dict[str, str]:
    """The settings that `--device`, `--steps` and `--executor` stand for, by option."""
    settings = {"--device": None if device is None else f'run.device="{device}"'}
    settings["--executor"] = None if executor is None else f'executor.use="{executor}"'
    settings["--steps"] = None if steps is None else f"run.steps={steps}"
    return {option: setting for option, setting in settings.items() if setting is not None}


def refuse_without_matrix(source: ManifestFile, *, jobs: int | None = None, max_cells: int | None = None) -> None:
    """Refuse what only a matrix takes, where a manifest has none.

    Raises:
        ManifestError: one of these was given.
    """
    from altgrad_core.errors import ManifestError

    given = {"--jobs": jobs, "--max-cells": max_cells}
    option = next((option for option, value in given.items() if value is not None), None)
    if option is not None and "matrix" not in source.data:
        raise ManifestError(
            f"{option}: is for the cells of a study; {source.path} has no [matrix]; add one, or leave out {option}"
        )

"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ManifestArgument = Annotated[Path, typer.Argument(help="A manifest: TOML, or JSON or YAML of the same schema.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, such as optimizer.lr=0.01. Repeatable."),
]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
OutOption = Annotated[Path | None, typer.Option(help="The run directory itself; runs/NAME by default.")]
StepsOption = Annotated[int | None, typer.Option(help="Train only so many steps.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings(given: list[str] | None, *, device: str | None = None, steps: int | None = None) -> list[str]:
    """`--set` values, with `--device` and `--steps` as the settings they stand for."""
    extra = [f'run.device="{device}"'] if device is not None else []
    extra += [f"run.steps={steps}"] if steps is not None else []
    return [*(given or []), *extra]

"""`altgrad init`: a commented manifest to begin with."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.terminal import say
from altgrad_core.errors import ManifestError
from altgrad_core.text import as_bytes

SCHEMA_NAME = "altgrad.schema.json"


def init(
    path: Annotated[Path, typer.Argument(help="The manifest to write, or a directory for it.")] = Path("altgrad.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
) -> None:
    """Write a commented manifest that runs as it is, and a schema with which editors complete it."""
    from altgrad_core.cli.schema import schema_text
    from altgrad_core.records.output_place import check_output_place, write_output

    path = path / "altgrad.toml" if path.is_dir() else path
    if path.suffix != ".toml":
        raise ManifestError(f'{path}: the manifest is written as TOML; expected a name such as "{path.stem}.toml"')
    if path.exists() and not force:
        raise ManifestError(f"{path}: exists; --force replaces it, and altgrad init OTHER.toml leaves it alone")
    check_output_place(path, option="PATH")
    text = (files("altgrad_core.cli") / "templates" / "init.toml").read_text("utf-8")
    write_output(path.with_name(SCHEMA_NAME), schema_text().encode())
    write_output(path, as_bytes(text.replace("{path}", shlex.quote(str(path)))))
    say(
        f"{path}: a manifest to start with\n{path.with_name(SCHEMA_NAME)}: for editors\nto train it: altgrad run "
        f"{shlex.quote(str(path))}"
    )

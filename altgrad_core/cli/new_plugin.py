"""`altgrad new-plugin KIND NAME`: the package of a plugin, with its test, to begin with."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.names import complete_kind
from altgrad_core.cli.terminal import say


def new_plugin(
    kind: Annotated[
        str,
        typer.Argument(
            help="format, optimizer, monitor, intervention, model, layer, dataset, tracker or executor.",
            autocompletion=complete_kind,
        ),
    ],
    name: Annotated[str, typer.Argument(help="Its name in manifests, such as my-format.")],
    out: Annotated[Path | None, typer.Option(help="The new directory; altgrad-NAME by default.")] = None,
) -> None:
    """Write the package of a new plugin: working code, a test, a manifest that uses it, a README."""
    from altgrad_core.cli.scaffold import package_of
    from altgrad_core.errors import ManifestError, RunError
    from altgrad_core.registry.kinds import KINDS
    from altgrad_core.registry.registry import installed

    if kind not in KINDS:
        raise ManifestError(f'KIND: no kind of plugin "{kind}"; one of {", ".join(KINDS)}')
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        expected = f"expected lower-case letters, digits and hyphens, such as my-{kind}"
        raise ManifestError(f'NAME: "{name}" is not a valid name of a plugin; {expected}')
    if name in installed().names(kind):
        raise ManifestError(f'NAME: the {kind} "{name}" is installed already; choose another name')
    directory = Path(f"altgrad-{name}") if out is None else out
    if directory.exists() or directory.is_symlink():
        raise ManifestError(f"{directory}: exists already; choose another directory with --out, or remove it")
    try:
        for path, text in package_of(kind, name).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)  # nothing was there before
        raise RunError(f"{directory}: cannot be written: {error.strerror}; choose another place with --out") from None
    say(f"{directory}: a plugin with the {kind} {name}; continue with:")
    say(f'cd {directory} && pip install -e ".[testing]" && pytest')

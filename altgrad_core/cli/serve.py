"""`altgrad serve DIR`: runs and studies in the browser, while they are under way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.terminal import say

PORT = 8050


def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of runs and studies.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = PORT,
) -> None:
    """Show every run and study below DIR live in the browser, for this machine only; Ctrl-C ends it."""
    from altgrad_core.dashboard.serve import serve as serve_pages

    serve_pages(directory, port=port, began=lambda address: say(f"{directory}: {address} (Ctrl-C ends it)", err=True))

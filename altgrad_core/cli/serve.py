"""`altgrad serve DIR`: runs and studies in the browser, while they are under way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.terminal import say

PORT = 8050


def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where runs and studies are, such as runs.")] = Path(
        "runs"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = PORT,
) -> None:
    """Show every run and study below DIR in the browser, as they grow. Only this machine can see it; Ctrl-C ends it."""
    from altgrad_core.dashboard.serve import serve as serve_pages

    serve_pages(directory, port=port, began=lambda address: say(f"{directory}: {address} (Ctrl-C ends it)", err=True))

"""`altgrad runs`: the runs and studies that are on the disk."""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.options import JsonOption
from altgrad_core.cli.terminal import say


def runs(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look.")] = Path("runs"),
    cells: Annotated[bool, typer.Option("--cells", help="Also list the cells of every study.")] = False,
    json: JsonOption = False,
) -> None:
    """List the runs and studies below DIR, newest first, with their progress and how they ended."""
    from rich.markup import escape
    from rich.table import Table

    from altgrad_core.cli.console import Console
    from altgrad_core.errors import ManifestError
    from altgrad_core.results.catalogue import ago, catalogue, loss, progress

    if not directory.is_dir():
        raise ManifestError(f"{directory}: is not a directory; altgrad run MANIFEST writes into runs")
    now = time.time()
    result = catalogue(directory, now=now)
    studies = {listed.path for listed in result if listed.kind == "study"}
    shown = [listed for listed in result if cells or listed.path.parent not in studies]
    if json:
        keys = ("kind", "status", "step", "steps", "ended", "cells", "loss", "changed")
        rows = [{"directory": str(listed.path), **{key: getattr(listed, key) for key in keys}} for listed in shown]
        print(json_module.dumps(rows, indent=2))
        return
    if not shown:
        say(f"{directory}: no run and no study is in it")
        return
    table = Table("directory", "status", "progress", "loss", "written", box=None, pad_edge=False)
    for listed in shown:
        place = escape(str(listed.path))
        table.add_row(place, listed.status, progress(listed), loss(listed.loss), ago(now - listed.changed))
    Console().print(table)

"""`altgrad track RUN_DIR --to TRACKER`: hand the records of a run over to a tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.names import complete_tracker
from altgrad_core.cli.options import JsonOption
from altgrad_core.cli.terminal import say


def track(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run, or of a study for every cell of it.")],
    to: Annotated[
        str,
        typer.Option(help="One of `altgrad list-plugins --kind tracker`.", autocompletion=complete_tracker),
    ],
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the tracker, such as mode=offline. Repeatable."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send the records of RUN_DIR to a tracker, as during the run."""
    import json as json_module

    from altgrad_core.registry.registry import installed
    from altgrad_core.running.session.track import replay

    parts = []
    for one in replay(run_dir, to, settings=set or (), registry=installed()):
        parts.append({"directory": str(one.directory), "records": one.records, "message": one.farewell})
        for problem in one.problems:
            say(f"warning: {one.directory}: {problem}", err=True)
        if not json:
            say(f"{one.directory}: {one.records} records to {to}" + (f"; {one.farewell}" if one.farewell else ""))
    if json:
        print(json_module.dumps(parts, indent=2))

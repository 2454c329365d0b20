"""`altgrad report DIR`: the answer of a study, with its evidence, on one page."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from altgrad_core.cli.options import JsonOption


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a study, or of a single run.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the report; DIR itself by default.")] = None,
    json: JsonOption = False,
) -> None:
    """Write what a study answers, with its evidence, as one page that opens anywhere, with figures and tables beside it."""
    from altgrad_core.cli.matrix import print_written
    from altgrad_core.experiments.report.write import write_report

    written = write_report(directory, out)
    if json:
        told = {
            "answer": written.sentence,
            "cautions": written.cautions,
            "page": str(written.page),
            "markdown": str(written.markdown),
            "figures": [str(path) for path in written.figures],
            "tables": [str(path) for path in written.tables],
        }
        print(json_module.dumps(told))
        return
    print_written(written)

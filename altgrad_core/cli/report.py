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
    figures: Annotated[
        str | None, typer.Option(metavar="KIND", help="Also write figures for a paper, as pdf, png, svg or eps.")
    ] = None,
    width: Annotated[str | None, typer.Option(help="Width of these figures, such as 3.3in or 84mm.")] = None,
    json: JsonOption = False,
) -> None:
    """Write the report of a study or run: one page that opens anywhere, with figures and tables."""
    from altgrad_core.cli.terminal import say
    from altgrad_core.cli.written import print_written
    from altgrad_core.errors import ManifestError
    from altgrad_core.experiments.load import load
    from altgrad_core.experiments.paper import KINDS, inches, write_paper_figures
    from altgrad_core.experiments.report.write import FIGURES, write_report

    if figures is not None and figures not in KINDS:
        raise ManifestError(f"--figures {figures}: no such kind; one of {', '.join(KINDS)}")
    if width is not None and figures is None:
        raise ManifestError("--width: is that of figures for a paper; add --figures pdf")
    wide = None if width is None else inches(width)
    written = write_report(directory, out)
    place = (directory if out is None else out) / FIGURES
    paper = [] if figures is None else write_paper_figures(load(directory).plot, place, kind=figures, width=wide)
    if json:
        data = {
            "answer": written.sentence,
            "cautions": written.cautions,
            "page": str(written.page),
            "markdown": str(written.markdown),
            "figures": [str(path) for path in (*written.figures, *paper)],
            "tables": [str(path) for path in written.tables],
        }
        print(json_module.dumps(data))
        return
    print_written(written)
    for path in paper:
        say(f"figure: {path}")

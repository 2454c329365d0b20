"""The first page: what runs now, and every study and run below the directory."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, html

from altgrad_core.dashboard.pages.table import listing
from altgrad_core.dashboard.sources import Sources
from altgrad_core.text import printable

MOST_ROWS = 500


def page() -> Any:
    """The page, still empty."""
    return html.Div(id="home")


def keep_up(app: Dash, sources: Sources) -> None:
    """Bring the page up to date at every tick."""

    def fill(_: int) -> Any:
        result, now = sources.listing(), sources.clock()
        studies = [one for one in result if one.kind == "study"]
        cells = {run.path for study in studies for run in sources.cells(study)}
        running = [one for one in result if one.kind == "run" and one.status == "running"]
        runs = [one for one in result if one.kind == "run" and one.path not in cells]
        if not result:
            return html.P(
                f"No run and no study below {printable(str(sources.root))} yet. altgrad run MANIFEST starts one."
            )
        parts = [("Running now", running, "running"), ("Studies", studies, "studies"), ("Runs", runs, "runs")]
        return [
            part
            for title, members, name in parts
            if members
            for part in (html.H2(title), listing(members[:MOST_ROWS], now=now, name=name), *_rest(len(members)))
        ]

    app.callback(Output("home", "children"), Input("tick", "n_intervals"))(fill)


def _rest(count: int) -> list[Any]:
    return [html.P(f"{count - MOST_ROWS} older ones are not listed.")] if count > MOST_ROWS else []

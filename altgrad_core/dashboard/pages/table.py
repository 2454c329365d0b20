"""Tables of runs and studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dash import dcc, html

from altgrad_core.dashboard.words import link, share
from altgrad_core.results.catalogue import Listed, ago, loss, progress


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, name: str) -> Any:
    """A table that scrolls within itself where the page is narrow."""
    top = html.Thead(html.Tr([html.Th(title) for title in head]))
    body = html.Tbody([html.Tr([html.Td(cell) for cell in row]) for row in rows])
    return html.Div(html.Table([top, body], id=name), className="scroll")


def listing(found: Iterable[Listed], *, now: float, name: str) -> Any:
    """Runs and studies, each with a link to its page; losses where there are any."""
    shown = list(found)
    has_losses = any(here.loss is not None for here in shown)
    rows = [
        (
            dcc.Link(here.place, href=link(here)), badge(here.status), bar(here),
            *([loss(here.loss)] if has_losses else []), ago(now - here.changed),
        )
        for here in shown
    ]  # fmt: skip
    return table(("where", "status", "progress", *(["loss"] if has_losses else []), "written"), rows, name=name)


def badge(status: str) -> Any:
    """The status in its colour."""
    known = status if status in ("running", "finished", "diverged", "crashed", "stopped") else "other"
    return html.Span(status, className=f"badge {known}")


def bar(result: Listed) -> Any:
    """How far it has come, in words and as a bar."""
    filled = html.Span(className="filled", style={"width": f"{100 * share(result):.0f}%"})
    return html.Div([html.Span(filled, className="bar"), html.Span(progress(result))], className="progress")

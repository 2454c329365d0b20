"""The program in the browser: one layout, a page for each address, and a tick that keeps the page up to date."""

from __future__ import annotations

import sys
from typing import Any

from dash import Dash, Input, Output, dcc, html
from flask import abort, request
from werkzeug.exceptions import HTTPException

from altgrad_core.dashboard.pages import home, run, study
from altgrad_core.dashboard.sources import Sources
from altgrad_core.dashboard.words import place_in
from altgrad_core.text import printable

TICK = 2000  # milliseconds
HOSTS = ("127.0.0.1", "localhost")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; font-src 'self' data:; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere. Plotly draws with styles and functions that it writes itself."""


def build_app(sources: Sources, *, tick: int = TICK) -> Dash:
    """The pages of a directory.

    Args:
        tick: milliseconds between two looks at the disk.
    """
    app = Dash(
        __name__, title="AltGrad", update_title="", serve_locally=True, suppress_callback_exceptions=True,
        assets_folder="assets",
    )  # fmt: skip
    app.enable_dev_tools(debug=False, dev_tools_disable_version_check=True)
    app.layout = html.Div(
        [
            dcc.Location(id="url"),
            dcc.Interval(id="tick", interval=tick),
            html.Header([dcc.Link("AltGrad", href="/", className="brand"), html.Span(printable(str(sources.root)))]),
            html.Main(id="page"),
        ]
    )

    def show(path: str, search: str) -> Any:
        kind, pages = str(path).strip("/"), {"run": run.page, "study": study.page}
        if kind not in pages:
            return home.page()
        result = sources.listed(place_in(search), kind)
        return (
            html.P(f"No {kind} of this name is below {printable(str(sources.root))}.")
            if result is None
            else pages[kind](result)
        )

    app.callback(Output("page", "children"), Input("url", "pathname"), Input("url", "search"))(show)
    for part in (home, run, study):
        part.keep_up(app, sources)
    _guard(app)
    return app


def _guard(app: Dash) -> None:
    """Answer this machine alone, under its own name; let the browser load nothing from elsewhere; tell of a fault in one line."""

    def refuse_other_names() -> None:
        if request.host.rsplit(":", 1)[0] not in HOSTS:
            abort(403)

    def restrict(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def tell(error: Exception) -> Any:
        if isinstance(error, HTTPException):
            return error
        told = f"altgrad: serve: {request.path}: {type(error).__name__}: {error}"
        print(printable(told).replace("\n", " "), file=sys.stderr, flush=True)
        return "This page failed, or the address does not exist.", 500

    app.server.register_error_handler(Exception, tell)
    app.server.before_request(refuse_other_names)
    app.server.after_request(restrict)

"""The page of one run: its curves, its readings layer by layer, and its weights on the rungs of their formats."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from altgrad_core.dashboard import figures
from altgrad_core.dashboard.pages.table import badge, bar
from altgrad_core.dashboard.sources import Sources
from altgrad_core.dashboard.words import place_in
from altgrad_core.results.catalogue import Listed, ago, loss
from altgrad_core.results.growing import GrowingRun

QUIET: Any = {"displayModeBar": False, "responsive": True}


def page(result: Listed) -> Any:
    """The page, still empty."""
    return html.Div(
        [
            html.H2(result.place),
            html.Div(id="run-head"),
            dcc.Graph(id="run-curves", figure=figures.blank(), config=QUIET),
            html.H3("Readings"),
            dcc.Dropdown(id="run-reading", clearable=False, placeholder="No reading has been recorded yet."),
            dcc.Graph(id="run-reading-figure", figure=figures.blank(), config=QUIET),
            html.H3("Weights"),
            html.Div(id="run-weights"),
            dcc.Store(id="run-seen"),
            dcc.Store(id="run-weights-seen"),
        ]
    )


def keep_up(app: Dash, sources: Sources) -> None:
    """Bring the page up to date at every tick, where there is something new."""

    def head(_: int, search: str) -> Any:
        result = sources.listed(place_in(search), "run")
        if result is None:
            return html.P("This run is no longer there.")
        parts = [badge(result.status), bar(result), html.Span(f"loss {loss(result.loss)}")]
        return html.Div([*parts, html.Span(f"written {ago(sources.clock() - result.changed)}")], className="facts")

    def draw(_: int, name: str | None, search: str, seen: Any) -> Any:
        result = sources.listed(place_in(search), "run")
        if result is None:
            return (no_update,) * 6
        run = sources.run(result)
        names = [{"label": run.fact(reading).label, "value": reading} for reading in run.readings]
        chosen = name if name in run.readings else _first(run)
        made_of = [result.place, chosen, len(run.losses), len(run.evaluations), _size(run)]
        if made_of == seen:
            return (no_update,) * 6
        drawn = figures.blank() if chosen is None else figures.reading(run, chosen, key=f"{result.place} {chosen}")
        is_shown = {"display": "none" if chosen is None else "block"}
        return figures.curves(run, key=result.place), names, chosen, drawn, is_shown, made_of

    def weigh(_: int, search: str, seen: Any) -> Any:
        result = sources.listed(place_in(search), "run")
        if result is None:
            return no_update, no_update
        weights = sources.weights(result)
        made_of = [result.place, weights if isinstance(weights, str) else weights[0].step]
        if made_of == seen:
            return no_update, no_update
        return _weights(weights), made_of

    outputs = [Output("run-curves", "figure"), Output("run-reading", "options"), Output("run-reading", "value")]
    outputs += [
        Output("run-reading-figure", "figure"),
        Output("run-reading-figure", "style"),
        Output("run-seen", "data"),
    ]
    tick, search = Input("tick", "n_intervals"), State("url", "search")
    app.callback(Output("run-head", "children"), tick, search)(head)
    app.callback(outputs, tick, Input("run-reading", "value"), search, State("run-seen", "data"))(draw)
    weighed = [Output("run-weights", "children"), Output("run-weights-seen", "data")]
    app.callback(weighed, tick, search, State("run-weights-seen", "data"))(weigh)


def _first(run: GrowingRun) -> str | None:
    """The reading that is shown before one is chosen: one that varies, and is for heat maps, if there is one."""

    def rank(name: str) -> tuple[bool, bool]:
        values = {value for points in run.readings[name].values() for value in points.values()}
        return len(values) < 2, run.fact(name).chart != "heat"

    return min(run.readings, key=rank, default=None)


def _size(run: GrowingRun) -> int:
    return sum(len(points) for layers in run.readings.values() for points in layers.values())


def _weights(weights: Any) -> Any:
    if isinstance(weights, str):
        return html.P(weights)
    drawn: list[Any] = []
    for seen in weights:
        share = f"{seen.used} of {seen.rungs} rungs hold one of the {seen.weights:,} weights of {seen.layers} layers"
        drawn.append(
            html.P([html.Strong(seen.format), f", step {seen.step}: {share}; {seen.entropy:.2f} bits of entropy"])
        )
        drawn.append(dcc.Graph(figure=figures.number_line(seen, key=seen.format), config=QUIET))
    return drawn

"""The page of a study: parallel coordinates over its cells, and the curves and the table of those that brushes leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from altgrad_core.dashboard import figures
from altgrad_core.dashboard.pages.run import QUIET
from altgrad_core.dashboard.pages.table import badge, bar, table
from altgrad_core.dashboard.parallel import Axis, Brush, axes_of, figure, readings_of
from altgrad_core.dashboard.sources import Sources
from altgrad_core.dashboard.words import link, place_in
from altgrad_core.errors import AltgradError
from altgrad_core.experiments.figures.palette import colours_of
from altgrad_core.experiments.study.study import Result, Study
from altgrad_core.results.catalogue import Listed, ago, loss
from altgrad_core.text import printable

MOST_CURVES, MOST_ROWS, FIRST_READINGS = 80, 300, 2
LEGEND_ROW = 24  # pixels
HOW = "Drag along an axis to keep the cells in a range; drag its name to move it. Cells without a value are at its top."


def page(result: Listed) -> Any:
    """The page, still empty."""
    return html.Div(
        [
            html.H2(result.place),
            html.Div(id="study-head"),
            dcc.Dropdown(id="study-readings", multi=True, placeholder="Readings to show as axes"),
            html.Div(
                dcc.Graph(id="study-cells", figure=figures.blank(), config=QUIET, className="wide"), className="scroll"
            ),
            html.P([html.Span(id="study-left"), f" {HOW} ", html.Button("Show all cells", id="study-clear")]),
            dcc.Graph(id="study-curves", figure=figures.blank(), config=QUIET),
            html.Div(id="study-table"),
            dcc.Store(id="study-brush", data={}),
            dcc.Store(id="study-seen"),
        ]
    )


def keep_up(app: Dash, sources: Sources) -> None:
    """Bring the page up to date at every tick, where there is something new, and after every brush."""

    def head(_: int, search: str) -> Any:
        result = sources.listed(place_in(search), "study")
        if result is None:
            return html.P("This study is no longer there.")
        parts = [badge(result.status), bar(result), html.Span(f"written {ago(sources.clock() - result.changed)}")]
        return html.Div(parts, className="facts")

    def brush(change: Any, _: Any, stored: Any, names: list[str] | None, search: str) -> Any:
        if ctx.triggered_id == "study-clear":
            return Brush().stored
        read = _read(sources, search)
        if read is None or change is None:
            return no_update
        axes = axes_of(*read, names or ())
        return Brush.of(stored).after(change, [axis.key for axis in axes]).stored

    def draw(_: int, names: list[str] | None, stored: Any, search: str, seen: Any) -> Any:
        read = _read(sources, search)
        if read is None:
            return (no_update,) * 7
        study, cells = read
        known = readings_of(cells)
        chosen = known[:FIRST_READINGS] if names is None and known else names or []
        made_of = [place_in(search), chosen, [_state(cell) for cell in cells]]
        if made_of == seen and ctx.triggered_id != "study-brush":
            return (no_update,) * 7
        axes, brushed = axes_of(study, cells, chosen), Brush.of(stored)
        is_brushed = ctx.triggered_id == "study-brush" and brushed.ranges  # then the browser shows it already
        left = [cells[index] for index in brushed.left(axes, len(cells))]
        picture = no_update if is_brushed else figure(axes, brushed)
        drawn = spread(left, MOST_CURVES)
        text = f"{len(left)} of {len(cells)} cells{f', curves of {len(drawn)}' if len(drawn) < len(left) else ''}."
        return picture, known, chosen, text, _curves(drawn, study.unit), _table(left, axes, cells, sources), made_of

    tick, search = Input("tick", "n_intervals"), State("url", "search")
    app.callback(Output("study-head", "children"), tick, search)(head)
    app.callback(
        Output("study-brush", "data"), Input("study-cells", "restyleData"), Input("study-clear", "n_clicks"),
        State("study-brush", "data"),
        State("study-readings", "value"), search, prevent_initial_call=True,
    )(brush)  # fmt: skip
    app.callback(
        [
            Output("study-cells", "figure"), Output("study-readings", "options"), Output("study-readings", "value"),
            Output("study-left", "children"), Output("study-curves", "figure"), Output("study-table", "children"),
            Output("study-seen", "data"),
        ],
        tick, Input("study-readings", "value"), Input("study-brush", "data"), search, State("study-seen", "data"),
    )(draw)  # fmt: skip


def _read(sources: Sources, search: str) -> tuple[Study, list[Result]] | None:
    """The study of an address, and those of its cells that have begun."""
    result = sources.listed(place_in(search), "study")
    try:
        study = None if result is None else sources.study(result)
    except AltgradError:
        return None
    begun = [] if study is None else [cell for cell in study.results if cell.status != "missing"]
    return None if study is None or not begun else (study, begun)


def _state(cell: Result) -> list[Any]:
    return [cell.name, cell.status, len(cell.run_summary.losses), cell.validation_loss]


def spread(cells: Sequence[Result], most: int) -> list[Result]:
    """At most so many cells, the first of every optimizer in every format, with none left out before all have one."""
    seen: Counter[tuple[str, str]] = Counter()
    rounds = []
    for at, cell in enumerate(cells):
        seen[cell.format, cell.optimizer] += 1
        rounds.append((seen[cell.format, cell.optimizer], at))
    return [cells[at] for at in sorted(at for _, at in sorted(rounds)[:most])]


def _curves(cells: Sequence[Result], unit: str) -> figures.Figure:
    """Validation losses where a run has several, else training losses; a colour for each optimizer in a format."""
    kinds = [f"{cell.optimizer} in {cell.format}" for cell in cells]
    colours, drawn = colours_of(kinds), []
    is_evaluated = any(len(cell.run_summary.evaluations) > 1 for cell in cells)
    named: set[str] = set()
    for cell, kind in zip(cells, kinds, strict=True):
        points = cell.run_summary.evaluations if is_evaluated else cell.run_summary.losses
        curve = figures.line(points, name=kind, colour=colours[kind], mode="lines+markers" if is_evaluated else "lines")
        hover = f"{figures.text(cell.name)}<br>step %{{x}}: %{{y:.4f}}<extra></extra>".replace("\n", " ")
        drawn.append({**curve, "legendgroup": kind, "showlegend": kind not in named, "hovertemplate": hover})
        named.add(kind)
    axis = f"{'validation' if is_evaluated else 'training'} loss ({unit})"
    height = figures.HEIGHT + LEGEND_ROW * (len(named) // 4)
    return {"data": drawn, "layout": figures.layout(x="step", y=axis, key="curves", height=height)}


def _table(left: Sequence[Result], axes: Sequence[Axis], cells: Sequence[Result], sources: Sources) -> Any:
    """The cells that are left, the best first."""
    places = {run.path: run for run in sources.listing() if run.kind == "run"}
    ordered = sorted(left, key=lambda cell: (cell.validation_loss is None, cell.validation_loss or 0.0))
    rows = []
    for cell in ordered[:MOST_ROWS]:
        run = places.get(cell.directory)
        told = printable(cell.name)
        name = told if run is None else dcc.Link(told, href=link(run))
        rate = "-" if cell.rate is None else f"{cell.rate:.4g}"
        seed = "-" if cell.seed is None else str(cell.seed)
        rows.append((cell.format, cell.optimizer, rate, seed, badge(cell.status), loss(cell.validation_loss), name))
    return table(("format", "optimizer", "rate", "seed", "status", "loss", "cell"), rows, name="cells")

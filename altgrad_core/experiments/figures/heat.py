"""Tables of colours: small multiples of layer by step, and any small table whose numbers are written into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from altgrad_core.experiments.figures.axes import Limits
from altgrad_core.experiments.figures.canvas import draw, shortened
from altgrad_core.experiments.figures.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP = "cividis"  # even in lightness, and the same to people who see fewer colours
Rows = Sequence[Sequence[float]]  # NaN where there is none
MOST_COLUMNS = 3
ACROSS, GAP, SCALE = (
    150.0,
    12.0,
    66.0,
)  # the widths of a panel, of the space behind it, and of the colours with their numbers
HEADING = 20.0
ABOVE, BELOW = 20.0, 24.0  # of a panel: its title, and the numbers of its steps
TITLE = 26  # letters that fit over a panel


@dataclass(frozen=True)
class HeatMap:
    """A panel: a row per layer, NaN where there is no value, columns evenly from the first to the last step."""

    title: str
    layers: tuple[str, ...]
    steps: Limits
    values: Rows


def layers_by_step(maps: Sequence[HeatMap], *, limits: Limits, what: str, name: str, label: str) -> str:
    """The SVG of small multiples of `what`: a heat map for each of `maps`, with one scale of colours and one list of layers.

    The places are worked out here: matplotlib would draw each panel twice to lay it out.
    """
    layers = list(dict.fromkeys(layer for heat in maps for layer in heat.layers))
    shown = [shortened(layer, 24) for layer in layers]
    columns = min(range(min(len(maps), MOST_COLUMNS), 0, -1), key=lambda across: (across == 1, -len(maps) % across))
    rows = -(-len(maps) // columns)
    left, high = 10 + 5.1 * max(map(len, shown)), 11.0 * len(layers)
    width = left + columns * (ACROSS + GAP) + SCALE
    height = HEADING + rows * (high + ABOVE + BELOW) + 14

    def paint(figure: Figure) -> None:
        def place(x: float, bottom: float, across: float, up: float) -> Axes:
            return figure.add_axes((x / width, bottom / height, across / width, up / height))

        for number, heat in enumerate(maps):
            row, column = divmod(number, columns)
            bottom = height - HEADING - (row + 1) * (high + ABOVE) - row * BELOW
            axes = place(left + column * (ACROSS + GAP), bottom, ACROSS, high)
            _heat_map(axes, heat, layers, limits)
            axes.set_yticks([at + 0.5 for at in range(len(layers))], shown if column == 0 else [], fontsize=8.5)
            if number + columns >= len(maps):
                axes.set_xlabel("step", labelpad=1)
        _scale(place(width - SCALE + 4, height - HEADING - ABOVE - high, 10, high), limits)
        figure.text(10 / width, 1 - 14 / height, shortened(what, 64), fontsize=10)

    return draw(paint, width=width, height=height, name=name, label=label, lays_out=False)


def _heat_map(axes: Axes, heat: HeatMap, layers: Sequence[str], limits: Limits) -> None:
    """One panel, with a row for each of all layers, the first on top."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    across = max(len(row) for row in heat.values)
    values = np.full((len(layers), across), np.nan)
    for layer, row in zip(heat.layers, heat.values, strict=True):
        values[layers.index(layer), : len(row)] = row
    axes.imshow(
        np.ma.masked_invalid(values), aspect="auto", interpolation="none", cmap=MAP,
        vmin=limits[0], vmax=limits[1], extent=(heat.steps[0], max(heat.steps[1], heat.steps[0] + 1), len(layers), 0),
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(axis="x", labelsize=8.5, pad=2)
    axes.tick_params(axis="y", length=0)
    axes.set_title(shortened(heat.title, TITLE), loc="left", fontweight="bold", fontsize=9.5, pad=3)


def _scale(axes: Axes, limits: Limits) -> None:
    """The colours from the least to the greatest value, with its numbers on the right."""
    extent = (0.0, 1.0, limits[0], limits[1])
    axes.imshow([[step / 63] for step in range(63, -1, -1)], aspect="auto", cmap=MAP, extent=extent)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(axis="y", labelsize=8.5)


def number_table(
    values: Rows,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    unit: str,
    title: str,
    name: str,
    label: str,
    limits: Limits | None = None,
) -> str:
    """The SVG of a table whose cells are coloured by `values` and say `texts`."""
    width = max(350.0, 150.0 + 44.0 * len(columns))
    is_crowded = len(columns) > 4 or max(map(len, columns)) > 8

    def paint(figure: Figure) -> None:
        import numpy as np

        axes = figure.subplots()
        table = np.ma.masked_invalid(np.array(values, dtype=float).reshape(len(rows), len(columns)))
        low, high = limits or _range(table)
        image = axes.imshow(table, aspect="auto", interpolation="none", cmap=MAP, vmin=low, vmax=high)
        _write_into(axes, image, table, texts)
        axes.set_xticks(
            range(len(columns)), [shortened(text, 14) for text in columns],
            rotation=35 if is_crowded else 0, ha="right" if is_crowded else "center",
        )  # fmt: skip
        axes.set_yticks(range(len(rows)), [shortened(text, 24) for text in rows])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(shortened(title, 48), loc="left", fontweight="bold")
        figure.colorbar(image, ax=axes, label=unit, aspect=12, pad=0.02)

    height = 25.0 * len(rows) + (100 if is_crowded else 75)
    return draw(paint, width=width, height=height, name=name, label=label)


def _write_into(axes: Axes, image: Any, table: Any, texts: Sequence[Sequence[str]]) -> None:
    """The text of every cell, in its middle."""
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            ink = _ink_on(image, table[row, column])
            axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=ink)


def _range(table: Any) -> Limits:
    """From the least to the greatest value, never of width zero."""
    if table.count() == 0:
        return 0.0, 1.0
    low, high = float(table.min()), float(table.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ink_on(image: Any, value: Any) -> str:
    """Black on light cells, white on dark ones, and the colour of the text where there is no cell."""
    import numpy as np

    if np.ma.is_masked(value):
        return INK
    red, green, blue, _ = image.cmap(image.norm(value))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#ffffff"

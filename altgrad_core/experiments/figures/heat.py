"""Tables of colours: layer by step, and any small table whose numbers are written into it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from altgrad_core.experiments.figures.axes import Limits
from altgrad_core.experiments.figures.canvas import draw, shortened
from altgrad_core.experiments.figures.palette import INK

LETTERS = 20  # of a line beside the scale of colours, which is no higher than a few layers
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP = "cividis"  # even in lightness, and the same to people who see fewer colours
Rows = Sequence[Sequence[float]]  # NaN where there is none


def layer_by_step(
    values: Rows,
    *,
    layers: Sequence[str],
    steps: Limits,
    limits: Limits,
    unit: str,
    title: str,
    name: str,
    label: str,
) -> str:
    """The SVG of one heat map: a row per layer, the first on top, columns evenly from the first to the last step.

    Its places are worked out here: there are many of these figures, and matplotlib would draw each twice to lay it out.
    """
    width, height = 350.0, 13.0 * len(layers) + 74
    shown = [shortened(layer, 24) for layer in layers]
    left = 10 + 5.1 * max(map(len, shown))
    bottom, top = 40.0, height - 26

    def paint(figure: Figure) -> None:
        import numpy as np

        def place(x: float, across: float) -> Axes:
            return figure.add_axes((x / width, bottom / height, across / width, (top - bottom) / height))

        axes = place(left, width - left - 72)
        axes.imshow(
            np.ma.masked_invalid(np.array(values, dtype=float)), aspect="auto", interpolation="none", cmap=MAP,
            vmin=limits[0], vmax=limits[1], extent=(steps[0], max(steps[1], steps[0] + 1), len(layers), 0),
        )  # fmt: skip
        axes.set_yticks([row + 0.5 for row in range(len(layers))], shown, fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.set_title(shortened(title, 48), loc="left", fontweight="bold")
        axes.set_xlabel("step")
        _scale(place(width - 62, 10), limits, unit)

    return draw(paint, width=width, height=height, name=name, label=label, lays_out=False)


def _scale(axes: Axes, limits: Limits, unit: str) -> None:
    """The colours from the least to the greatest value, with its numbers on the right."""
    extent = (0.0, 1.0, limits[0], limits[1])
    axes.imshow([[step / 63] for step in range(63, -1, -1)], aspect="auto", cmap=MAP, extent=extent)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(fill(unit, LETTERS))


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

"""Effect against a reading, a point per pair of cells: whether the one goes with the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from altgrad_core.experiments.figures.axes import legend_below
from altgrad_core.experiments.figures.canvas import draw, shortened
from altgrad_core.experiments.figures.palette import INK, markers_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Dot:
    """One pair: where it lies, what gives it its colour, and what its shape."""

    x: float
    y: float
    colour: str
    shape: str


def scatter(dots: Sequence[Dot], *, x: str, y: str, note: str, colours: dict[str, str], name: str, label: str) -> str:
    """The SVG of one panel; `note` is its title, such as the correlation."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        markers = markers_of(dot.shape for dot in dots)
        for colour, shape in dict.fromkeys((dot.colour, dot.shape) for dot in dots):
            chosen = [dot for dot in dots if (dot.colour, dot.shape) == (colour, shape)]
            axes.plot(
                [dot.x for dot in chosen], [dot.y for dot in chosen], markers[shape],
                color=colours[colour], markersize=6, alpha=0.8, linestyle="none",
            )  # fmt: skip
        axes.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.margins(0.08)
        axes.set_title(note, loc="left", fontsize=9.5)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid()
        shown = dict.fromkeys(dot.colour for dot in dots)
        entries = [(axes.plot([], [], "s", color=colours[text])[0], shortened(text)) for text in shown]
        entries += [(axes.plot([], [], mark, color=INK)[0], shortened(text)) for text, mark in markers.items()]
        legend_below(figure, entries, columns=3)

    rows = (len({d.colour for d in dots}) + len({d.shape for d in dots}) + 2) // 3
    return draw(paint, width=350, height=235 + 15 * rows, name=name, label=label)

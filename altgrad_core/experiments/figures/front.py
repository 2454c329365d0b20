"""Bits against loss: recipes as points, the front of the uniform ones, and the one that is advised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from altgrad_core.experiments.figures.axes import legend_below
from altgrad_core.experiments.figures.canvas import draw
from altgrad_core.experiments.figures.palette import INK, markers_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Dot:
    """One recipe: where it lies, and of which kind it is."""

    bits: float
    loss: float
    kind: str


def front(dots: Sequence[Dot], *, plain: float, unit: str, colours: dict[str, str], name: str, label: str) -> str:
    """The SVG of one panel.

    Args:
        plain: the loss of the model as it is, a dashed line.
        colours: of every kind, in the order of the legend.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        markers = markers_of(colours)
        for kind, colour in colours.items():
            own = sorted((dot.bits, dot.loss) for dot in dots if dot.kind == kind)
            if own:
                x, y = zip(*own, strict=True)
                axes.plot(x, y, markers[kind], color=colour, markersize=6, alpha=0.85, linestyle="none")
                low = lowest(own)
                axes.step([b for b, _ in low], [v for _, v in low], where="post", color=colour, linewidth=1)
        axes.axhline(plain, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlabel("bits of an operand in the mean")
        axes.set_ylabel(f"validation loss ({unit})" if unit else "validation loss")
        axes.margins(0.06)
        axes.grid()
        legend_below(figure, [(axes.plot([], [], markers[k], color=c)[0], k) for k, c in colours.items()], columns=3)

    return draw(paint, width=460, height=300, name=name, label=label)


def lowest(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (bits, loss), those with a smaller loss than all with as few bits or fewer."""
    result: list[tuple[float, float]] = []
    for bits, loss in sorted(points):
        if not result or loss < result[-1][1]:
            result.append((bits, loss))
    return result

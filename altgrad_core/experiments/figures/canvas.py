"""From a drawing to SVG text that can stand alone or in a page: own ids, the colours of the page, nothing of the day."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from altgrad_core.experiments.figures.palette import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Painter(NamedTuple):
    """What draws on an empty figure, and the width and height it needs, in points."""

    paint: Callable[[Figure], None]
    width: float
    height: float


POINTS = 72.0  # an inch
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "altgrad",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "lines.linewidth": 1.6,
    "path.simplify": False,
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
SCHEMES = "#{name}{{color:#1a1a1a;stroke-linejoin:round;font-family:{font}}}@media screen and (prefers-color-scheme:dark){{#{name}{{color:#e6e6e6}}}}"


def draw(
    paint: Callable[[Figure], None], *, width: float, height: float, name: str, label: str, lays_out: bool = True
) -> str:
    """The SVG text of what `paint` draws on an empty figure of `width` by `height` points.

    Args:
        name: the id of the figure and the prefix of every id in it: letters, digits and hyphens.
        label: what the figure shows, for those who cannot see it.
        lays_out: find room for all labels; without it `paint` puts everything in its place.
    """
    buffer = io.StringIO()
    with _styled():
        figure = _painted(paint, (width, height), lays_out=lays_out)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _adopted(buffer.getvalue(), name=name, label=label, size=(width, height))


def figure_of(paint: Callable[[Figure], None], *, width: float, height: float) -> Figure:
    """The matplotlib figure of what `paint` draws, `width` by `height` points, to be shown or saved by whoever asked."""
    with _styled():
        return _painted(paint, (width, height), lays_out=True)


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of numbers near the ends of float64
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text: the reader's fonts will have it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _painted(paint: Callable[[Figure], None], size: tuple[float, float], *, lays_out: bool) -> Figure:
    from matplotlib.figure import Figure

    width, height = size
    figure = Figure(figsize=(width / POINTS, height / POINTS), layout="constrained" if lays_out else None)
    paint(figure)
    return figure


def plain(text: str) -> str:
    """A label that may stand in SVG: no control characters, and not hidden from legends by a leading underscore."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
    return f" {shown}" if shown.startswith("_") else shown


def shortened(text: str, most: int = 28) -> str:
    """A label of at most `most` letters; what is left out is its middle."""
    shown = plain(text)
    half = (most - 1) // 2
    return shown if len(shown) <= most else f"{shown[:half]}\N{HORIZONTAL ELLIPSIS}{shown[-half:]}"


def _adopted(svg: str, *, name: str, label: str, size: tuple[float, float]) -> str:
    """The drawing without what belongs to a file of its own, with ids and colours that fit into a page."""
    body = svg[svg.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style\b.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<[a-z][^>]*>", lambda tag: _own(tag[0], name), body)
    body = re.sub(r"\n\s*", "\n", body)
    width, height = size
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{name}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(plain(label))}">'
        f"<style>{SCHEMES.format(name=name, font=FONT)}</style>"
    )
    return head + body


def _own(tag: str, name: str) -> str:
    """One opening tag with the prefix on its ids and references, the fonts of the page, and INK as its text colour."""
    if tag.startswith("<image"):
        tag = re.sub(r"\sid=\"[^\"]*\"", "", tag)  # made of its content, which two panels may share
    tag = re.sub(r"\sid=\"([^\"]*)\"", rf' id="{name}-\1"', tag)
    tag = re.sub(r"href=\"#([^\"]*)\"", rf'href="#{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", tag)
    tag = re.sub(r"\s?font-family: [^;\"]*;?", "", tag)
    return tag.replace("xlink:href=", "href=").replace(INK, "currentColor")

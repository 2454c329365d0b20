"""Figures for a paper: those of the answer, in a format and a width that a journal asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.experiments.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("pdf", "png", "svg", "eps")
UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72}  # inches
NARROWEST, WIDEST = 1.5, 20.0  # inches
PANEL = 2.4  # inches that one panel of curves needs
DOTS = 300  # an inch
LINES = (48, 40, 34, 28, 22, 16)  # letters of a line, tried in turn


def inches(width: str) -> float:
    """A width such as `3.3in`, `84mm`, `8.4cm` or `240pt`.

    Raises:
        ManifestError: it is none, or no figure can have it.
    """
    result = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(in|cm|mm|pt)\s*", width)
    size = 0.0 if result is None else float(result[1]) * UNITS[result[2]]
    if not NARROWEST <= size <= WIDEST:
        raise ManifestError(
            f'--width {width}: expected {NARROWEST:g} to {WIDEST:g} inches with a unit, such as "3.3in" or "84mm"'
        )
    return size


def write_paper_figures(plot: Plot, place: Path, *, kind: str, width: float | None) -> list[Path]:
    """Write `forest` and `curves`, those that there are, into a folder; their letters keep their size.

    Args:
        kind: one of `KINDS`.
        width: in inches; None leaves each as it is on the page.

    Raises:
        RunError: the folder cannot be written to.
    """
    columns = None if width is None else max(1, int(width / PANEL))
    drawn: dict[str, Callable[[], Figure]] = {"forest": plot.forest, "curves": lambda: plot.curves(columns=columns)}
    written = []
    for name, draw in drawn.items():
        try:
            figure = draw()
        except ManifestError:  # there is nothing to draw
            continue
        if width is not None:
            _make_wide(figure, width)
        written.append(_save(figure, place / f"{name}.{kind}"))
    return written


def _make_wide(figure: Figure, width: float) -> None:
    """Give a figure its width; labels below the axes that would be cut off take more lines, and the figure their height."""
    figure.set_size_inches(width, figure.get_size_inches()[1])
    for label in [axes.xaxis.label for axes in figure.axes if axes.get_xlabel()]:
        told, before = " ".join(label.get_text().split()), label.get_text().count("\n")
        for letters in LINES:
            figure.draw_without_rendering()
            if label.get_window_extent().x0 >= 0:
                break
            label.set_text(fill(told, letters))
        more = label.get_text().count("\n") - before
        figure.set_size_inches(width, figure.get_size_inches()[1] + more * float(label.get_fontsize()) * 1.2 / 72)


def _save(figure: Figure, path: Path) -> Path:
    import matplotlib

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context(
            {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "altgrad"}
        ):  # text stays text
            figure.savefig(path, dpi=DOTS, metadata=_undated(path.suffix))
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}; choose another place with --out") from None
    return path


def _undated(suffix: str) -> dict[str, None]:
    """The same figure is the same file, whenever it was written."""
    return {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix, {})

"""Figures for a paper: their kinds, their width, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.errors import ManifestError
from altgrad_core.experiments.load import load
from altgrad_core.experiments.paper import _make_wide, inches


@pytest.mark.parametrize(
    ("told", "found"), [("3.3in", 3.3), ("84mm", 84 / 25.4), ("8.4 cm", 8.4 / 2.54), ("240pt", 240 / 72)]
)
def test_a_width_has_a_unit(told: str, found: float) -> None:
    assert inches(told) == pytest.approx(found)


@pytest.mark.parametrize("told", ["3.3", "in", "-3in", "0.1in", "900cm", "3.3em"])
def test_a_width_that_is_none_is_refused(told: str) -> None:
    with pytest.raises(ManifestError, match=r'expected 1\.5 to 20 inches with a unit, such as "3\.3in" or "84mm"'):
        inches(told)


def test_figures_have_the_width_that_was_asked_for(
    write: Callable[..., Path], made: Any, altgrad: Callable[..., Any], tmp_path: Path
) -> None:
    study = write(
        [made(f, o, 0.1, s, 2.0 + s / 100) for f in ("e4m3", "e5m2") for o in ("adamw", "grid") for s in (1, 2)]
    )
    said = altgrad("report", study, "--figures", "pdf", "--width", "3.3in")
    assert said.code == 0, said.err
    for name in ("forest", "curves"):
        path = study / "figures" / f"{name}.pdf"
        assert f"figure: {path}" in said.out
        box = re.search(rb"/MediaBox \[ ?0 0 ([0-9.]+) ", path.read_bytes())
        assert box is not None and float(box[1]) == pytest.approx(3.3 * 72, abs=0.1)
    before = (study / "figures/forest.pdf").read_bytes()
    altgrad("report", study, "--figures", "pdf", "--width", "3.3in")
    assert (study / "figures/forest.pdf").read_bytes() == before


def test_no_label_is_cut_off_in_a_narrow_figure(write: Callable[..., Path], made: Any) -> None:
    study = write([made(f, o, 0.1, 1, 2.0) for f in ("e4m3", "e5m2") for o in ("adamw", "grid")])
    figure = load(study).plot.forest()
    _make_wide(figure, 2.4)
    figure.draw_without_rendering()
    (label,) = [axes.xaxis.label for axes in figure.axes if axes.get_xlabel()]
    box = label.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0
    assert " ".join(label.get_text().split()).startswith("loss of adamw minus its own, ")


def test_what_cannot_be_drawn_is_refused_before_anything_is_written(
    write: Callable[..., Path], made: Any, altgrad: Callable[..., Any]
) -> None:
    study = write([made()])
    assert (
        altgrad("report", study, "--figures", "bmp").err
        == "altgrad: --figures bmp: no such kind; one of pdf, png, svg, eps\n"
    )
    assert (
        altgrad("report", study, "--width", "3in").err
        == "altgrad: --width: is that of figures for a paper; add --figures pdf\n"
    )
    assert not (study / "report.html").exists()

"""Readings by layer: each is held against the format of the operand that it is of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.report.blocks import Gallery, Text
from altgrad_core.experiments.report.sections.layers import layers_section
from altgrad_core.experiments.report.sections.maps import maps_blocks
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.study import Study

READINGS = {
    "e4m3": {"stall-ratio": 0.2, "gradient-underflow-rate": {"blocks.0.mlp.fc": 0.1, "lm_head": 0.3}},
    "e5m2": {"stall-ratio": 0.4, "gradient-underflow-rate": {"blocks.0.mlp.fc": 0.2, "lm_head": 0.4}},
}


@pytest.fixture
def view(write: Callable[..., Path], made: Any) -> View:
    """Weights in two formats, gradients in one."""
    cells = [made(form, seed=seed, readings=READINGS[form]) for form in READINGS for seed in (1, 2)]
    directory = write(cells)
    for cell in cells:
        path = directory / cell.name / "resolved.toml"
        head, mark, tail = path.read_text().partition("[recipe.gradient]")
        path.write_text(head + mark + tail.replace(f'"{cell.format}"', '"e3m4"'))
    return View(Analysis(Study.read(directory)))


def texts(blocks: Any) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Text)]


def test_formats_of_the_weights_are_not_ranked_by_a_reading_of_the_gradients(view: View) -> None:
    section = layers_section(view)
    assert texts(section.blocks)[1:] == [
        "Share of updates that change no code, lower is better; best format of the weights: attention e4m3 (0.2), MLP e4m3 "
        "(0.2), classifier e4m3 (0.2).",
        "Share of gradient elements rounded to zero, in e3m4, the only format of the gradients: MLP 0.15, classifier 0.35.",
    ]
    (gallery,) = (block for block in section.blocks if isinstance(block, Gallery))
    assert [panel.name for panel in gallery.panels] == ["layers-01-stall-ratio"]  # a table of one format says no more
    assert gallery.caption.endswith(
        "Formats of the weights: e4m3 and e5m2; of the activations: e4m3 and e5m2; of the gradients: e3m4 throughout."
    )


def test_heat_maps_of_one_reading_are_one_figure_and_name_the_format_of_its_operand(view: View) -> None:
    galleries = [block for block in maps_blocks(view) if isinstance(block, Gallery)]
    assert [panel.name for gallery in galleries for panel in gallery.panels] == [
        "heat-01-stall-ratio", "heat-02-gradient-underflow-rate",
    ]  # fmt: skip
    for gallery in galleries:
        (panel,) = gallery.panels
        assert (">adamw in e4m3<" in panel.svg, ">adamw in e5m2<" in panel.svg) == (True, True)
    assert not galleries[0].caption.endswith("throughout.")
    assert galleries[1].caption.endswith("Formats of the gradients: e3m4 throughout.")

"""SVG that can stand alone or in a page: the same bytes every time, own ids, the colours of the page."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest

from altgrad_core.experiments.figures.canvas import draw, plain, shortened
from altgrad_core.experiments.figures.palette import INK


def sample(text: str = "label", name: str = "one") -> str:
    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([1, 2], [3, 4], label=plain(text))
        axes.imshow([[0.0, 1.0]], extent=(1, 2, 3, 4), aspect="auto", interpolation="none")
        axes.set_xlabel(plain(text))
        axes.legend()

    return draw(paint, width=300, height=200, name=name, label=f"what is shown: {text}")


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}text")]


def test_the_same_drawing_is_the_same_bytes_and_bears_no_date() -> None:
    assert sample() == sample()
    assert re.search(r"20\d\d-\d\d-\d\d|[Dd]ate|[Mm]etadata|Matplotlib v", sample()) is None


def test_settings_of_the_user_neither_matter_nor_change() -> None:
    expected = sample()
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 40, "lines.linewidth": 9, "svg.fonttype": "path", "axes.grid": True}):
        inside = dict(matplotlib.rcParams)
        assert sample() == expected
        assert dict(matplotlib.rcParams) == inside
    assert dict(matplotlib.rcParams) == before


def test_ids_are_prefixed_and_every_reference_leads_to_one() -> None:
    svg = sample(name="heat-01")
    ids = re.findall(r'\sid="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert [name for name in ids if not name.startswith("heat-01")] == []
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)) != set()
    led = {a or b for a, b in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)}
    assert led <= set(ids)


def test_ink_becomes_the_colour_of_the_text_around_it() -> None:
    svg = sample()
    assert INK not in svg
    assert "currentColor" in svg
    assert "prefers-color-scheme:dark" in svg
    assert re.findall(r"<style[^>]*>[^#]", svg) == []  # no rule reaches beyond the figure


def test_it_has_a_size_a_role_and_words_for_those_who_cannot_see_it() -> None:
    root = ElementTree.fromstring(sample('a "b" <c>'))
    assert root.attrib["viewBox"] == "0 0 300 200"
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'what is shown: a "b" <c>'


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "$x_1$ & $", 'id="stolen" href="#x" url(#y)', "_hidden", "a\x00b\nc", "ü \u2014 例"],
)
def test_a_label_is_shown_as_it_is(text: str) -> None:
    svg = sample(text)
    assert "<script" not in svg
    shown = [found.strip() for found in texts(svg)]
    assert shown.count(plain(text).strip()) == 2  # the axis and the legend


def test_control_characters_are_replaced() -> None:
    assert plain("a\x00b\nc") == "a\ufffdb\ufffdc"
    assert plain("_a") == " _a"


def test_a_long_label_loses_its_middle() -> None:
    assert shortened("blocks.11.attn.c_proj", 11) == "block\u2026_proj"
    assert shortened("short", 11) == "short"

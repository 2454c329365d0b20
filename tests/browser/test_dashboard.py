"""The pages in a real browser: they load, grow with a study, are filtered by brushes, and run no code from names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY
from tests.experiments import made_up
from tests.patience import LONGEST

pytestmark = pytest.mark.browser
WAIT = 1000 * LONGEST  # milliseconds
HOSTILE = "<img src=x onerror=alert(1)><b>bold"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A study of twelve cells, six of which have a loss below 2.5."""
    cells = [
        made_up.Made(format, optimizer, 0.1, seed, 2.0 + (optimizer == "adamw") + 0.01 * seed, readings={"stall-ratio": 0.1 * seed})
        for format in ("e4m3", "e5m2")
        for optimizer in ("adamw", "manifold-adamw")
        for seed in (1, 2, 3)
    ]  # fmt: skip
    made_up.write_study(tmp_path / "runs/study", cells)
    return tmp_path / "runs"


def wait_for_points(page: Any, figure: str, count: int) -> None:
    """Wait until the curves of a figure have this many points; a figure is drawn after its table, and drawn again."""
    points = f"document.querySelector('#{figure} .js-plotly-plot')?.data?.reduce((n, c) => n + c.x.length, 0) ?? 0"
    page.wait_for_function(f"{points} == {count}", timeout=WAIT)


def test_pages_load_and_lead_to_each_other(root: Path, serve: Callable[[Path], str], page: Any) -> None:
    page.goto(serve(root))
    page.locator("#studies a").click(timeout=WAIT)
    page.locator("#study-cells .parcoords").wait_for(timeout=WAIT)
    page.wait_for_function("document.querySelectorAll('#cells tbody tr').length == 12", timeout=WAIT)
    wait_for_points(page, "study-curves", 12 * 4)
    page.locator("#cells a").first.click()
    page.wait_for_function("document.querySelector('#run-curves .js-plotly-plot')?.data?.length == 2", timeout=WAIT)
    label = "share of updates that change no code"
    page.wait_for_function(f"document.querySelector('#run-reading')?.innerText == '{label}'", timeout=WAIT)
    page.get_by_text("No checkpoint has been written yet.").wait_for(timeout=WAIT)


def test_brushing_an_axis_leaves_its_cells_and_a_button_brings_the_others_back(
    root: Path, serve: Callable[[Path], str], page: Any
) -> None:
    page.goto(f"{serve(root)}study?at=study")
    page.wait_for_function("document.querySelectorAll('#cells tbody tr').length == 12", timeout=WAIT)
    page.locator("#study-cells .axis-title", has_text="loss").first.wait_for(timeout=WAIT)
    names = page.locator("#study-cells .axis-title").all_text_contents()
    axis = page.locator("#study-cells .axis-brush .background").nth(names.index("loss")).bounding_box()
    x, top, bottom = axis["x"] + axis["width"] / 2, axis["y"], axis["y"] + axis["height"]
    page.mouse.move(x, bottom - 2)
    page.mouse.down()
    page.mouse.move(x, (top + bottom) / 2, steps=8)
    page.mouse.up()
    page.wait_for_function("document.querySelectorAll('#cells tbody tr').length == 6", timeout=WAIT)
    page.wait_for_function("document.querySelector('#study-left').innerText == '6 of 12 cells.'", timeout=WAIT)
    assert set(page.locator("#cells tbody tr td:nth-child(2)").all_inner_texts()) == {"manifold-adamw"}
    wait_for_points(page, "study-curves", 6 * 4)
    page.get_by_text("Show all cells").click()
    page.wait_for_function("document.querySelectorAll('#cells tbody tr').length == 12", timeout=WAIT)


def test_the_curve_of_a_running_study_grows(tmp_path: Path, serve: Callable[[Path], str], page: Any) -> None:
    manifest = tmp_path / "tiny.toml"
    manifest.write_text(TINY.replace("steps = 6", "steps = 2000") + '\n[matrix]\n"run.seed" = [1, 2]\n')
    command = [sys.executable, "-m", "altgrad_core", "run", str(manifest), "--out", str(tmp_path / "runs/study")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    study = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (tmp_path / "runs").mkdir()
        page.goto(serve(tmp_path / "runs"))
        page.locator("#running a").first.click(timeout=WAIT)
        grows = "document.querySelector('#run-curves .js-plotly-plot')?.data?.[0]?.x?.at(-1)"
        page.wait_for_function(f"{grows} > 0", timeout=WAIT)
        first = page.evaluate(f"{grows} ?? 0")  # none while the page draws its figure again
        page.wait_for_function(f"{grows} > {first}", timeout=WAIT)
        assert study.poll() is None
        page.get_by_text("rungs hold one of the").wait_for(timeout=WAIT)
    finally:
        study.terminate()
        study.wait(timeout=LONGEST)


def test_names_with_markup_are_shown_as_they_are_and_do_nothing(
    tmp_path: Path, serve: Callable[[Path], str], page: Any
) -> None:
    hostile = made_up.Made(readings={HOSTILE: {HOSTILE: 1.0, f"{HOSTILE}2": 2.0}}, optimizer=HOSTILE)
    made_up.write_cell(tmp_path / "runs/study" / HOSTILE, hostile)
    (tmp_path / "runs/study/cells.json").write_text('{"schema": 1, "cells": []}')
    made_up.write_cell(tmp_path / "runs" / HOSTILE, hostile)
    address = serve(tmp_path / "runs")
    page.goto(address)
    page.locator("#runs a").click(timeout=WAIT)
    page.locator("#run-reading-figure .heatmaplayer image, #run-reading-figure .hm").first.wait_for(
        timeout=WAIT, state="attached"
    )
    assert page.locator("h2").inner_text() == HOSTILE
    assert HOSTILE in page.locator("#run-reading-figure").text_content()
    page.goto(f"{address}study?at=study")
    page.wait_for_timeout(3000)
    for place in ("..%2F..%2Fetc", "%2Fetc", HOSTILE + "x"):
        page.goto(f"{address}run?at={place}")
        page.get_by_text("No run of this name").wait_for(timeout=WAIT)
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1280])
def test_no_page_is_wider_than_the_window(
    scheme: str, width: int, root: Path, serve: Callable[[Path], str], page: Any
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{serve(root)}study?at=study")
    page.wait_for_function("document.querySelectorAll('#cells tbody tr').length == 12", timeout=WAIT)
    ink = {"light": "rgb(28, 36, 48)", "dark": "rgb(230, 234, 240)"}[scheme]
    page.locator("#study-curves .xtick text").first.wait_for(timeout=WAIT)  # a figure is drawn after its table
    page.wait_for_function(
        "ink => [...document.querySelectorAll('#study-curves .xtick text')].some(t => getComputedStyle(t).fill == ink)",
        arg=ink,
        timeout=WAIT,
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width

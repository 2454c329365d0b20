"""Names that the shell completes, formats side by side, guesses among all kinds, and a listing that fits a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from altgrad_core import load_format
from altgrad_core.cli.names import complete_kind, complete_plugin, complete_setting, complete_tracker
from altgrad_core.cli.show import number_line


@pytest.mark.parametrize(
    ("complete", "begun", "names"),
    [
        (complete_plugin, "e4m3", ["e4m3", "e4m3-ieee", "e4m3-fnuz"]),
        (complete_kind, "m", ["monitor", "model"]),
        (complete_tracker, "tens", ["tensorboard"]),
        (complete_setting, "run.ste", ["run.steps="]),
        (complete_setting, "optimizer.l", ["optimizer.lr="]),
    ],
)
def test_what_begins_like_that_is_offered(complete: Callable[[str], list[str]], begun: str, names: list[str]) -> None:
    assert complete(begun) == names


def test_a_near_miss_is_guessed_at_among_all_kinds(altgrad: Callable[..., Any]) -> None:
    said = altgrad("show", "flip")
    assert (said.code, said.err) == (2, 'altgrad: no plugin is called "flip"; did you mean the monitor "flips"?\n')


def test_two_formats_are_shown_side_by_side(altgrad: Callable[..., Any]) -> None:
    rows = [line.split() for line in altgrad("show", "e4m3", "e5m2").out.splitlines()]
    assert ["largest", "448.0", "57344.0"] in rows and ["rungs", "253", "247"] in rows
    assert [facts["name"] for facts in json.loads(altgrad("show", "e4m3", "E5M2", "--json").out)] == ["e4m3", "e5m2"]
    said = altgrad("show", "e4m3", "flips")
    assert (said.code, said.err.startswith('altgrad: no format "flips"')) == (2, True)


def test_a_number_line_has_a_bar_for_each_value_and_its_ends_below() -> None:
    bars, ends = number_line(load_format("e2m1"), 49).splitlines()  # 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives
    assert bars.count("\u2588") == 15 and bars[0] == bars[-1] == bars[12] == "\u2588"
    assert ends == "-6" + " " * 46 + "6"


def test_the_listing_fits_a_page(altgrad: Callable[..., Any]) -> None:
    said = altgrad("list-plugins").out
    assert len(said.splitlines()) < 40
    assert "manifold-adamw" in said and "--kind KIND" in said

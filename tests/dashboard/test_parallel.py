"""Which cells brushes leave, from the events that Plotly sends, and figures as plain data."""

from __future__ import annotations

import json
import math
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("dash")

from altgrad_core.dashboard import figures
from altgrad_core.dashboard.pages.study import spread
from altgrad_core.dashboard.parallel import Axis, Brush, _names, _numbers
from altgrad_core.dashboard.words import place_in
from altgrad_core.results.catalogue import ago
from altgrad_core.results.growing import GrowingRun

FORMAT = _names("format", ["e4m3", "e5m2", "e4m3"])
LOSS = _numbers("loss", [2.0, None, 3.0])
AXES = [FORMAT, LOSS]
KEYS = ["format", "loss"]


def brushed(*changes: object) -> Brush:
    brush = Brush()
    for change in changes:
        brush = Brush.of(json.loads(json.dumps(brush.after([change, [0]], KEYS).stored)))
    return brush


def test_without_a_brush_every_cell_is_left() -> None:
    assert Brush().left(AXES, 3) == [0, 1, 2]


def test_a_range_of_one_axis_and_ranges_of_another_leave_what_is_in_both() -> None:
    one = brushed({"dimensions[1].constraintrange": [[1.5, 3.0]]})
    assert one.left(AXES, 3) == [0, 2]
    two = brushed(
        {"dimensions[1].constraintrange": [[1.5, 3.0]]}, {"dimensions[0].constraintrange": [[[-0.2, 0.2], [0.9, 1.2]]]}
    )
    assert two.left(AXES, 3) == [0, 2]
    assert brushed({"dimensions[0].constraintrange": [[0.9, 1.2]]}).left(AXES, 3) == [1]


def test_a_released_axis_lets_everything_through() -> None:
    assert brushed(
        {"dimensions[0].constraintrange": [[0.9, 1.2]]}, {"dimensions[0].constraintrange": None}
    ).left(AXES, 3) == [0, 1, 2]  # fmt: skip


def test_a_brush_after_an_axis_was_moved_is_of_the_axis_that_stands_there() -> None:
    moved = {"dimensions": [[{"label": "loss", "constraintrange": [2.5, 3.0]}, {"label": "format"}]]}
    assert brushed(moved).left(AXES, 3) == [2]
    assert brushed(moved, {"dimensions[1].constraintrange": [[0.9, 1.2]]}).ranges == {
        "loss": [[2.5, 3.0]], "format": [[0.9, 1.2]],
    }  # fmt: skip


def test_cells_without_a_number_lie_above_the_others() -> None:
    assert Axis("loss", (2.0, 3.08, 3.0)) == LOSS
    rates = _numbers("rate", [0.01, 1.0, None, math.inf], is_log=True)
    assert rates.positions == pytest.approx((-2.0, 0.0, 0.16, 0.16))
    assert rates.ticks is not None and [told for _, told in rates.ticks] == ["0.01", "1", "none"]


def test_figures_carry_no_markup_and_no_number_that_json_lacks(tmp_path: Path) -> None:
    run = GrowingRun(tmp_path, losses={1: 2.0, 2: math.nan})
    run.readings["<b>r"] = {"<i>a": {1: 1.0, 2: math.inf}, "b": {1: 2.0}}
    for figure in (figures.curves(run, key="k"), figures.reading(run, "<b>r", key="k")):
        text = json.dumps(figure, allow_nan=False)
        assert "<b>r" not in text and "<i>a" not in text


@pytest.mark.parametrize(("task", "axis"), [({"unit": "nats"}, "loss (nats)"), ({}, "loss"), (3, "loss")])
def test_losses_of_a_run_have_the_unit_that_it_recorded(tmp_path: Path, task: object, axis: str) -> None:
    began = {"kind": "began", "name": "a", "steps": 9, "readings": [], "task": task}
    (tmp_path / "records.jsonl").write_text(json.dumps(began) + "\n")
    run = GrowingRun(tmp_path / "records.jsonl")
    run.update()
    assert figures.curves(run, key="k")["layout"]["yaxis"]["title"]["text"] == axis


def test_a_long_curve_is_thinned_and_keeps_its_last_point() -> None:
    steps, values = figures.thinned({step: float(step) for step in range(1, 5002)})
    assert len(steps) <= 1 + figures.MOST_POINTS and steps[-1] == 5001 and values[-1] == 5001.0


def test_times_and_addresses_in_words() -> None:
    assert [ago(seconds) for seconds in (-1, 5, 125, 7300, 200000)] == [
        "0 s ago",
        "5 s ago",
        "2 min ago",
        "2 h ago",
        "2 d ago",
    ]
    assert place_in("?at=a%2Fb%20%3Cc%3E") == "a/b <c>" and place_in(None) == ""


def test_long_names_of_an_axis_are_cut_in_their_middle_so_that_they_end_before_the_next_axis() -> None:
    drawn = _names("optimizer", ["adamw", "manifold-adamw (geometry=e4m3, floor=2)"]).drawn
    assert drawn["ticktext"] == ["adamw", "manifold-a\N{HORIZONTAL ELLIPSIS}, floor=2)"]


def test_where_not_every_curve_fits_each_optimizer_in_each_format_has_some(made_cell: Any) -> None:
    cells = [made_cell("e4m3", "adamw") for _ in range(9)] + [made_cell("e5m2", name) for name in ("adamw", "sgd")]
    assert [cells.index(cell) for cell in spread(cells, 4)] == [0, 1, 9, 10]
    assert spread(cells, 20) == cells


def test_a_figure_without_numbers_yet_draws_no_axes() -> None:
    layout = figures.blank()["layout"]
    assert (layout["xaxis"], layout["yaxis"]) == ({"visible": False}, {"visible": False})


@pytest.fixture
def made_cell() -> Any:
    """A cell of which nothing but format and optimizer is known."""
    names = count(1)
    return lambda format, optimizer: SimpleNamespace(format=format, optimizer=optimizer, name=next(names))

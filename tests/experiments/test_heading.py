"""The heading: at most 12 words, whatever the names, and nothing that the study does not show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import answer
from altgrad_core.experiments.evidence.heading import MOST_WORDS, heading
from altgrad_core.experiments.study.interval import Interval
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import decimals

Read = Callable[..., Study]


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({"e4m3": 0.2, "e5m2": 0.0}, "manifold-adamw beats adamw in e4m3 (6 seeds)"),
        ({"e4m3": 0.2, "e5m2": 0.2}, "manifold-adamw beats adamw in e4m3 and e5m2 (6 seeds)"),
        ({"e4m3": -0.2, "e5m2": -0.2}, "manifold-adamw loses to adamw in e4m3 and e5m2 (6 seeds)"),
        ({"e4m3": 0.0, "e5m2": -0.2}, "manifold-adamw does not beat adamw in e4m3 or e5m2 (6 seeds)"),
        (
            dict.fromkeys(("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1"), 0.2),
            "manifold-adamw beats adamw in 7 formats (6 seeds)",
        ),
    ],
)
def test_the_heading_says_what_is_shown(
    gains: dict[str, float], expected: str, study: Read, grid_of_cells: Any
) -> None:
    assert heading(Analysis(study(grid_of_cells(gains)))) == expected
    assert len(expected.split()) <= MOST_WORDS


@pytest.mark.parametrize(
    ("unquantized", "expected"),
    [
        (0.2, "No format is shown to gain more than fp32 (6 seeds)"),
        (0.0, "manifold-adamw beats adamw in e4m3 and e5m2 (6 seeds)"),
    ],
)
def test_a_gain_is_a_benefit_of_a_format_only_beside_unquantized_weights(
    unquantized: float, expected: str, study: Read, grid_of_cells: Any
) -> None:
    cells = grid_of_cells({"e4m3": 0.2, "e5m2": 0.2, "fp32": unquantized})
    cells = [cell if cell.format != "fp32" else type(cell)(**{**vars(cell), "format": None}) for cell in cells]
    known = study(cells)
    assert heading(Analysis(known)) == expected
    said = "No format is shown to gain more from manifold-adamw than weights in fp32; the largest gain is in e"
    assert (said in answer(Analysis(known)).sentence) == (unquantized > 0)


def test_what_shows_nothing_says_so(study: Read, made: Any) -> None:
    pair = [made(optimizer=name) for name in ("adamw", "grid")]
    assert heading(Analysis(study(pair))) == "No ranking: one seed is not enough evidence"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["diverged"], "The only cell that ended diverged"),
        (["diverged"] * 2, "All 2 cells that ended diverged"),
        (["finished"], "The only cell finished without a validation loss"),
        (["finished"] * 2, "All 2 cells finished without a validation loss"),
        (["finished", "diverged"], "No validation loss: 1 of 2 cells diverged"),
    ],
)
def test_a_run_without_a_validation_loss_did_not_diverge(
    statuses: list[str], expected: str, write: Callable[..., Path], made: Any
) -> None:
    folder = write([made(loss=None, seed=seed) for seed in range(len(statuses))])
    for summary, status in zip(folder.rglob("summary.json"), statuses, strict=True):
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "status": status}))
    known = Study.read(folder)
    assert heading(Analysis(known)) == expected
    assert answer(Analysis(known)).sentence == f"{expected}, so there is no loss to compare."


def test_names_too_long_for_a_line_are_counted(study: Read, grid_of_cells: Any) -> None:
    cells = grid_of_cells({"e4m3": 0.2})
    many = [
        type(cell)(**{**vars(cell), "options": {**cell.options, "note": f"a long note of {len(cells)} words {n}"}})
        for cell in cells
        for n in (1, 2)
        if cell.optimizer != "adamw"
    ]
    found = heading(Analysis(study([cell for cell in cells if cell.optimizer == "adamw"] + many)))
    assert found == "2 of 2 optimizers beat the baseline (6 seeds)"


@given(half=st.floats(1e-9, 1e3), mean=st.floats(-5, 5))
def test_a_number_has_two_digits_of_the_half_width_of_its_interval(half: float, mean: float) -> None:
    found = decimals(Interval(mean, mean - half, mean + half))
    assert 2 <= found <= 6
    if 2e-5 < half < 0.09:
        assert 10 <= round(half * 10**found) < 101


def test_digits_by_hand() -> None:
    told = [(0.0123, 3), (0.00123, 4), (0.5, 2), (30.0, 2), (1e-9, 6)]
    assert [(half, decimals(Interval(0.0, -half, half))) for half, _ in told] == told
    assert decimals(None) == 4

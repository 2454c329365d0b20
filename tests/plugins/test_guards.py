"""Guards: when they act, and what they say."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
from altgrad_guards import StopOnDivergence, StopOnNonfinite, WidenStalled

from altgrad_core import Intervention, Stop, SwitchFormat


def decisions(guard: Intervention, losses: Iterable[float]) -> list[tuple[int, Any]]:
    """Step and action, for one number of the whole model a step."""
    return [(step, a) for step, loss in enumerate(losses, 1) for a in guard.decide(step, {"*": loss})]


NAN, INF = math.nan, math.inf
NONFINITE = Stop(because="the loss was not finite for 3 steps in a row", diverged=True)
DIVERGED = Stop(because="the loss was above 3 ln(vocabulary) for 5 steps in a row", diverged=True)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0] * 9, []),
        ([NAN, NAN], []),
        ([NAN, INF, -INF], [(3, NONFINITE)]),
        ([NAN, NAN, 1.0, NAN, NAN, NAN], [(6, NONFINITE)]),
        ([NAN] * 9, [(3, NONFINITE)]),
    ],
)
def test_nonfinite_losses_stop_the_run_after_three_in_a_row(losses: list[float], expected: Any) -> None:
    assert decisions(StopOnNonfinite(), losses) == expected


def test_the_patience_of_nonfinite_is_an_option() -> None:
    assert decisions(StopOnNonfinite(patience=1), [1.0, NAN]) == [
        (2, Stop(because="the loss was not finite for 1 steps in a row", diverged=True))
    ]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0] * 9, []),
        ([3.1] * 4 + [3.0] + [3.1] * 4, []),
        ([3.1] * 5, [(5, DIVERGED)]),
        ([3.1, NAN, INF, 4.0, NAN], [(5, DIVERGED)]),
    ],
)
def test_losses_above_the_threshold_stop_the_run_after_five_in_a_row(losses: list[float], expected: Any) -> None:
    assert decisions(StopOnDivergence(), losses) == expected


def test_threshold_and_patience_of_divergence_are_options() -> None:
    assert decisions(StopOnDivergence(threshold=1.5, patience=2), [1.6, 1.6]) == [
        (2, Stop(because="the loss was above 1.5 ln(vocabulary) for 2 steps in a row", diverged=True))
    ]


def test_a_layer_that_stalls_is_widened_once() -> None:
    guard = WidenStalled(to="e3m4", below=0.01, patience=2)
    rates = [{"a": 0.001, "b": 0.5}, {"a": 0.001, "b": 0.001}, {"a": 0.0, "b": 0.02}, {"a": 0.0, "b": 0.0}]
    decided = [(step, action) for step, reading in enumerate(rates, 1) for action in guard.decide(step, reading)]
    assert decided == [(2, SwitchFormat(layer="a", to="e3m4", because="flip rate < 0.01 for 2 readings"))]


def test_a_layer_that_moves_again_starts_anew() -> None:
    guard = WidenStalled(to="e3m4", patience=2)
    rates = [0.0, 0.1, 0.0, 0.0]
    assert [len(list(guard.decide(step, {"a": rate}))) for step, rate in enumerate(rates)] == [0, 0, 0, 1]


def test_a_rate_at_the_limit_is_not_below_it() -> None:
    assert list(WidenStalled(to="e3m4", below=0.5, patience=1).decide(1, {"a": 0.5})) == []


def test_a_layer_name_is_no_pattern() -> None:
    guard = WidenStalled(to="e3m4", patience=1)
    assert [action.layer for action in guard.decide(1, {"blocks.1": 0.0, "blocks.10": 0.0})] == [
        "blocks.1",
        "blocks.10",
    ]


def test_two_guards_count_for_themselves() -> None:
    one, other = WidenStalled(to="e3m4", patience=2), WidenStalled(to="e3m4", patience=2)
    assert list(one.decide(1, {"a": 0.0})) == []
    assert list(other.decide(1, {"a": 0.0})) == []
    assert len(list(one.decide(2, {"a": 0.0}))) == 1


def test_the_formats_they_name() -> None:
    assert list(WidenStalled(to="e3m4").names_formats()) == ["e3m4"]
    assert list(StopOnNonfinite().names_formats()) == []

"""Guards: when they act, and what they say."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
from altgrad_guards import (
    ClipLayers,
    ClipPartition,
    EmergencyShift,
    RankAlarm,
    ReadingRule,
    SkipBadStep,
    StopOnDivergence,
    StopOnNonfinite,
    WidenStalled,
)
from pydantic import ValidationError

from altgrad_core import ClipGradients, Intervention, ScaleLearningRate, SkipStep, Stop, SwitchFormat, Warn


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


def decided(guard: Intervention, readings: Iterable[dict[str, float]]) -> list[tuple[int, Any]]:
    """Step and action, for readings by layer."""
    return [(step, action) for step, reading in enumerate(readings, 1) for action in guard.decide(step, reading)]


def test_a_step_with_a_gradient_that_is_no_number_is_skipped() -> None:
    assert decisions(SkipBadStep(above=5.0), [1.0, NAN, 5.0, INF, 5.5]) == [
        (2, SkipStep(because="the gradient norm is nan")),
        (4, SkipStep(because="the gradient norm is inf")),
        (5, SkipStep(because="the gradient norm 5.5 > 5")),
    ]
    assert decisions(SkipBadStep(), [1e30]) == []


def test_layers_are_clipped_one_by_one() -> None:
    assert decided(ClipLayers(max_norm=2.0), [{"a": 3.0, "b": 1.0}, {"a": NAN, "b": 2.0}]) == [
        (1, ClipGradients(layer="a", max_norm=2.0, because="gradient norm 3 > 2"))
    ]


@pytest.mark.parametrize(("format", "largest"), [("e5m2", 57344.0), ("e3m4", 124.0), ("e4m3", 448.0)])
def test_the_partition_rule_clips_to_the_share_of_e5m2s_range_while_there_is_overflow(
    format: str, largest: float
) -> None:
    guard = ClipPartition(format=format, base=3.0, above=0.01)
    assert decided(guard, [{"a": 0.01, "b": 0.02}]) == [
        (1, ClipGradients(layer="b", max_norm=3.0 * largest / 57344, because="gradient overflow rate 0.02 > 0.01"))
    ]
    assert list(guard.names_formats()) == [format]


def test_a_layer_in_trouble_goes_along_the_chain_again_and_again() -> None:
    guard = EmergencyShift(patience=2)
    shift = SwitchFormat(layer="a", to=guard.chain, because="stall-ratio of a > 0.5 for 2 readings")
    readings = [{"a": 0.6, "b": 0.5}, {"a": 0.7, "b": 0.6}, {"a": 0.6, "b": 0.4}, {"a": 0.6, "b": 0.6}]
    assert decided(guard, readings) == [(2, shift), (4, shift)]


def test_nan_in_one_layer_may_shift_the_whole_model() -> None:
    guard = EmergencyShift(on="gradient-nan-count", whole_model=True, patience=1, chain={"E4M3": "e5m2"})
    because = "gradient-nan-count of a > 0 for 1 readings"
    assert decided(guard, [{"a": 0, "b": 0}, {"a": 3, "b": 0}]) == [
        (2, SwitchFormat(layer="*", to={"e4m3": "e5m2"}, role="gradient", because=because))
    ]
    assert guard.reads == "gradient-nan-count"
    assert list(guard.names_formats()) == ["e4m3", "e5m2"]


def test_a_chain_that_goes_in_a_circle_is_refused() -> None:
    with pytest.raises(ValidationError, match="has a cycle: e4m3 -> e5m2 -> e3m4 -> e5m2; let it end"):
        EmergencyShift(chain={"e4m3": "e5m2", "e5m2": "e3m4", "e3m4": "e5m2"})
    with pytest.raises(ValidationError, match="has a cycle: e4m3 -> e4m3; let it end"):
        EmergencyShift(chain={"e4m3": "E4M3"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"action": "warn"}, Warn(layer="a", because="flip-rate of a < 0.1 for 2 readings, now 0.05")),
        ({"action": "stop"}, Stop(because="flip-rate of a < 0.1 for 2 readings, now 0.05")),
        (
            {"action": "clip", "max_norm": 2.0},
            ClipGradients(layer="a", max_norm=2.0, because="flip-rate of a < 0.1 for 2 readings, now 0.05"),
        ),
        (
            {"action": "switch-format", "to": "e3m4"},
            SwitchFormat(layer="a", to="e3m4", because="flip-rate of a < 0.1 for 2 readings, now 0.05"),
        ),
        (
            {"action": "scale-learning-rate", "factor": 0.5},
            ScaleLearningRate(factor=0.5, because="flip-rate of a < 0.1 for 2 readings, now 0.05"),
        ),
    ],
)
def test_a_rule_does_what_it_says(options: dict[str, Any], expected: Any) -> None:
    rule = ReadingRule(reading="flip-rate", below=0.1, patience=2, layers="a|c*", **options)
    readings = [{"a": 0.05, "b": 0.0}, {"a": 0.05, "b": 0.0}, {"a": 0.05}, {"a": 0.5}]
    assert decided(rule, readings) == [(2, expected)]
    assert rule.reads == "flip-rate" and rule.acts == (type(expected),)
    assert len(decided(rule, readings)) == 1  # a new streak
    once = ReadingRule(reading="flip-rate", below=0.1, again=False, **options)
    assert len(decided(once, [{"a": 0.0}, {"a": 1.0}, {"a": 0.0}])) == 1


@pytest.mark.parametrize(
    ("condition", "fires"),
    [
        ({"above": 2.0}, [False, False, True, True]),
        ({"below": 1.0}, [True, False, False, True]),
        ({"above": 2.0, "below": 1.0}, [True, False, True, True]),
    ],
)
def test_a_rule_holds_outside_of_its_limits_and_for_nan(condition: dict[str, float], fires: list[bool]) -> None:
    for value, expected in zip((0.5, 1.0, 2.5, NAN), fires, strict=True):
        assert bool(decisions(ReadingRule(reading="loss", **condition), [value])) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a rule needs a condition: above, below, or both"),
        ({"above": 1, "below": 2}, "every number is above 1 or below 2; two limits mean outside of them"),
        ({"when": [{"reading": "loss", "above": 1}]}, "a rule needs either a reading, or several in when"),
        ({"reading": None}, "a rule needs either a reading, or several in when"),
        ({"reading": None, "when": [{"reading": "loss", "above": 1}], "below": 1}, "above and below belong to reading"),
        ({"reading": None, "when": [{"reading": "loss"}]}, "a rule needs a condition: above, below, or both"),
        ({"above": 1, "action": "clip"}, 'action "clip" needs max_norm'),
        ({"above": 1, "action": "switch-format"}, 'action "switch-format" needs to'),
        ({"above": 1, "action": "stop", "factor": 2.0}, 'factor belongs to action "scale-learning-rate"'),
    ],
)
def test_a_rule_that_says_too_little_or_too_much_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ReadingRule(**{"reading": "loss", **options})


def test_a_dropped_rank_is_told() -> None:
    guard = RankAlarm(patience=2)
    told = Warn(layer="a", because="the stable rank of a dropped beyond its threshold")
    assert decided(guard, [{"a": 1, "b": 0}, {"a": 1, "b": 1}, {"a": 1, "b": 0}]) == [(2, told)]

"""Guards over several readings, of chosen layers, and beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
from altgrad_guards import ClipLayers, ClipRelative, EmergencyShift, FreezeOscillating, ReadingRule, WidenStalled

from altgrad_core import ClipGradients, Intervention, ScaleLearningRate, Warn

NAN = math.nan


def decided(guard: Intervention, readings: Iterable[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Step and action, for one set of readings a step."""
    return [(step, action) for step, reading in enumerate(readings, 1) for action in guard.decide(step, reading)]


WHEN = [{"reading": "stall-ratio", "above": 0.9}, {"reading": "gradient-underflow-rate", "above": 0.5}]


def stalls(**layers: float) -> dict[str, Any]:
    return {"stall-ratio": layers}


def losses_of(**layers: float) -> dict[str, Any]:
    return {"gradient-underflow-rate": layers}


def test_a_rule_over_several_readings_wants_all_of_one_layer_at_their_newest() -> None:
    rule = ReadingRule(when=WHEN)
    because = "stall-ratio of {} > 0.9 and gradient-underflow-rate > 0.5, now 0.95"
    assert rule.reads == ("stall-ratio", "gradient-underflow-rate")
    assert decided(
        rule,
        [
            stalls(a=0.95, b=0.95),  # nothing is known of the other yet
            losses_of(a=0.6, b=0.4),  # it is not asked at these
            stalls(a=0.95, b=0.95) | losses_of(a=0.4, b=0.6),
            losses_of(a=0.6),
            stalls(a=0.95, b=0.5),  # b has its last value still
            stalls(b=0.95),
        ],
    ) == [(step, Warn(layer=layer, because=because.format(layer))) for step, layer in ((3, "b"), (5, "a"), (6, "b"))]


def test_its_patience_counts_readings_of_the_first() -> None:
    rule = ReadingRule(when=WHEN, patience=2)
    readings = [losses_of(a=0.6), stalls(a=1.0), losses_of(a=0.7), losses_of(a=0.8), stalls(a=1.0), stalls(a=1.0)]
    assert [step for step, _ in decided(rule, readings)] == [5]
    broken = [losses_of(a=0.6), stalls(a=1.0), losses_of(a=0.1), stalls(a=1.0), losses_of(a=0.6), stalls(a=1.0)]
    assert decided(ReadingRule(when=WHEN, patience=2), broken) == []


def test_two_conditions_on_one_reading_make_a_band() -> None:
    rule = ReadingRule(when=[{"reading": "loss", "above": 1.0}, {"reading": "loss", "below": 2.0}])
    assert rule.reads == ("loss",)
    assert [step for step, _ in decided(rule, [{"loss": {"*": x}} for x in (1.0, 1.5, 2.0, 1.9)])] == [2, 4]


def test_a_reading_of_the_whole_model_counts_for_every_layer() -> None:
    rule = ReadingRule(when=[WHEN[0], {"reading": "loss", "above": 2.0}], action="switch-format", to="e5m2")
    told = decided(rule, [{"loss": {"*": 3.0}}, stalls(a=1.0, b=0.5), {"loss": {"*": 1.0}}, stalls(b=1.0)])
    assert [(step, action.layer) for step, action in told] == [(2, "a")]


def test_the_gradient_is_scaled_down_by_what_is_beyond_the_range_of_its_output() -> None:
    guard = ClipRelative()
    readings = {
        "gradient-headroom": {"a": -1.0, "b": 0.0, "c": -2.0, "d": -1.0, "e": -1.0},
        "gradient-l2": {"a": 3.0, "b": 3.0, "c": 0.5, "d": NAN},  # of e nothing is known
    }
    assert decided(guard, [readings, {"gradient-l2": {"a": 3.0}}, {"gradient-headroom": {"a": -1.0}}]) == [
        (1, ClipGradients(layer="a", max_norm=1.5, because="the gradient of its output is 2 times its scaled range")),
        (1, ClipGradients(layer="c", max_norm=0.125, because="the gradient of its output is 4 times its scaled range")),
    ]
    (half,) = ClipRelative(share=0.5, layers="b").decide(1, readings)
    because = "the gradient of its output is 2 times 0.5 of its scaled range"
    assert half == ClipGradients(layer="b", max_norm=1.5, because=because)


@pytest.mark.parametrize("guard", [ClipLayers(max_norm=1.0, layers="a | c*"), WidenStalled(to="e3m4", below=9, patience=1, layers="a | c*"), EmergencyShift(patience=1, layers="a | c*")])  # fmt: skip
def test_a_guard_looks_at_its_layers_alone(guard: Intervention) -> None:
    told = decided(guard, [{"a": 2.0, "b": 2.0, "c.0": 2.0}])
    assert [action.layer for _, action in told] == ["a", "c.0"]


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (EmergencyShift(chain={"e4m3": "e3m4"}), EmergencyShift(chain={"e4m3": "e5m2", "e3m4": "e5m2"}),
         "on the same condition it moves a layer from e4m3 to e5m2, and that one to e3m4, which would always come first"),
        (EmergencyShift(chain={"a": "b", "b": "c"}), EmergencyShift(patience=9, on="weight-nan-count", chain={"c": "a"}),
         "together their chains have a cycle: c -> a -> b -> c; let them end"),
        (EmergencyShift(chain={"e4m3": "e3m4"}), EmergencyShift(chain={"e4m3": "e3m4", "e3m4": "e5m2"}), None),
        (EmergencyShift(chain={"e4m3": "e3m4"}), EmergencyShift(patience=9, chain={"e4m3": "e5m2"}), None),
        (EmergencyShift(chain={"e4m3": "e3m4"}), EmergencyShift(on="gradient-nan-count", chain={"e3m4": "e4m3"}), None),
        (EmergencyShift(layers="a", chain={"e4m3": "e3m4"}), EmergencyShift(layers="b", chain={"e4m3": "e5m2"}), None),
        (EmergencyShift(), EmergencyShift(above=0.5), None),
        (WidenStalled(to="e3m4"), WidenStalled(to="e5m2", layers="a"),
         "on the same condition it moves a layer to e5m2, and that one to e3m4, which would always come first"),
        (WidenStalled(to="e3m4"), WidenStalled(to="e5m2", patience=3), None),
        (WidenStalled(to="e3m4"), EmergencyShift(), None),
        (ReadingRule(reading="loss", above=1, action="stop"), ReadingRule(reading="loss", above=1, action="stop", diverged=True),
         'on the same condition it asks for another "stop", and the first of two always wins'),
        (ReadingRule(reading="loss", above=1, action="stop"), ReadingRule(reading="loss", above=2, action="stop", diverged=True), None),
        (ReadingRule(reading="loss", above=1), ReadingRule(reading="loss", above=1, action="stop"), None),
    ],
)  # fmt: skip
def test_what_contradicts_each_other(one: Intervention, other: Intervention, why: str | None) -> None:
    assert other.contradicts(one) == why


def test_long_chains_are_looked_through_at_once() -> None:
    ladder = {str(step): str(step + 1) for step in range(3000)}
    skipping = {str(step): str(step + 2) for step in range(3000)}
    assert EmergencyShift(chain=ladder).contradicts(EmergencyShift(chain=skipping, patience=9)) is None


def test_a_layer_that_oscillates_is_frozen_once() -> None:
    guard = FreezeOscillating(above=0.1, patience=2, frequency=0.03, layers="a*")
    readings = [{"a": 0.2, "b": 0.9}, {"a": 0.1}, {"a": 0.2}, {"a": 0.3}, {"a": 0.0}, {"a": 0.2}, {"a": 0.2}]
    because = "0.3 of a oscillates, more than 0.1"
    freeze = ScaleLearningRate(factor=0.0, layer="a", reversing=0.03, because=because)
    assert decided(guard, readings) == [(4, freeze)]

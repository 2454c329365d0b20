"""Flips, updates and stalls, recomputed one element at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from altgrad_movement import Flips
from torch import Tensor

from altgrad_core import Geometry, Updated, Weight, load_format
from altgrad_core.testing.tiny import tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def weight_of(before: Tensor, after: Tensor, gradient: Tensor, geometry: Geometry, path: str = "layer") -> Weight:
    return Weight(path, after, gradient, before=before, geometry=geometry)


@pytest.mark.parametrize("format", EIGHT)
def test_counts_and_rates_are_those_of_the_definition(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any], view_of: Callable[..., Any]
) -> None:
    scale = 2.0**-3
    geometry, grid = Geometry.of(load_format(format), scale), obvious(load_format(format), scale)
    generator = torch.Generator().manual_seed(0)
    monitor = Flips(every=3)
    flips = updates = moved = elements = 0
    weight = weights_of(load_format(format))[::3] * scale
    rungs = [grid.rung(x) for x in weight.tolist()]
    for step in range(1, 7):
        gradient = torch.randint(-1, 2, weight.shape, generator=generator).float()
        after = weight * (1 + 0.1 * torch.randn(weight.shape, generator=generator))
        readings = monitor.observe(Updated(step, view_of(weight_of(weight, after, gradient, geometry)), 1.0, 0.1))
        rungs_after = [grid.rung(x) for x in after.tolist()]
        flipped = [x != y for x, y in zip(rungs, rungs_after, strict=True)]
        updated = [g != 0 for g in gradient.tolist()]
        flips += sum(flipped)
        updates += sum(updated)
        moved += sum(f and u for f, u in zip(flipped, updated, strict=True))
        elements += len(flipped)
        if step == 3:
            assert readings == {
                "flips": {"layer": flips},
                "updates": {"layer": updates},
                "flip-rate": {"layer": flips / elements},
                "stall-ratio": {"layer": 1 - moved / updates},
            }
            first = (flips, updates, moved, elements)
        elif step < 6:
            assert readings == {}
        weight, rungs = after, rungs_after
    window = [now - before for now, before in zip((flips, updates, moved, elements), first, strict=True)]
    assert readings == {
        "flips": {"layer": flips},  # since the start
        "updates": {"layer": updates},
        "flip-rate": {"layer": window[0] / window[3]},  # since the last report
        "stall-ratio": {"layer": 1 - window[2] / window[1]},
    }


def test_a_weight_with_a_nan_is_left_out_while_it_has_one(view_of: Callable[..., Any]) -> None:
    geometry, monitor = Geometry.of(load_format("e4m3")), Flips(every=2)
    zeros, ones, broken = torch.zeros(2), torch.ones(2), torch.tensor([float("nan"), 1.0])

    def see(step: int, before: Tensor, after: Tensor) -> Any:
        other = weight_of(zeros, ones, ones, geometry, "other")
        return monitor.observe(Updated(step, view_of(weight_of(before, after, ones, geometry), other), 1.0, 0.1))

    see(1, zeros, broken)
    assert see(2, broken, broken)["flips"] == {"other": 4}
    see(3, broken, broken)
    assert see(4, zeros, ones) == {
        "flips": {"layer": 2, "other": 8},
        "updates": {"layer": 2, "other": 8},
        "flip-rate": {"layer": 1.0, "other": 1.0},
        "stall-ratio": {"layer": 0.0, "other": 0.0},
    }


def test_a_step_without_updates_has_no_stall(view_of: Callable[..., Any]) -> None:
    geometry, zeros = Geometry.of(load_format("e4m3")), torch.zeros(4)
    readings = Flips().observe(Updated(1, view_of(weight_of(zeros, zeros, zeros, geometry)), 1.0, 0.1))
    assert readings == {
        "flips": {"layer": 0},
        "updates": {"layer": 0},
        "flip-rate": {"layer": 0.0},
        "stall-ratio": {"layer": 0.0},
    }


def test_nothing_moves_under_a_rate_of_nearly_zero(view_of: Callable[..., Any]) -> None:
    geometry, ones = Geometry.of(load_format("e4m3")), torch.ones(4)
    readings = Flips().observe(Updated(1, view_of(weight_of(ones, ones * 1.001, ones, geometry)), 1.0, 0.1))
    assert readings["stall-ratio"] == {"layer": 1.0}


def test_a_change_of_scale_is_no_flip() -> None:
    def double(run: Any) -> None:
        for parameter in run.model.parameters():
            parameter.data.mul_(1.5)

    run = tiny_run(monitors=[Flips()])
    tape = train(run, until=2)
    double(run)
    train(run, tape, until=3)
    before, after = ([r["values"] for r in tape.of("reading") if r["reading"] == "flip-rate"][i] for i in (1, 2))
    assert all(after[path] <= before[path] + 0.2 for path in after)


def test_layers_that_are_not_quantized_are_left_out() -> None:
    tape = train(tiny_run(monitors=[Flips()]), until=1)
    assert {tuple(record["values"]) for record in tape.of("reading")} == {("hidden", "wide")}


def test_totals_stay_exact_integers(view_of: Callable[..., Any]) -> None:
    monitor = Flips()
    monitor._totals = {"layer": [2**80] * 4}
    monitor._reported = {"layer": [2**80] * 4}
    geometry = Geometry.of(load_format("e4m3"))
    weight = weight_of(torch.zeros(1), torch.ones(1), torch.ones(1), geometry)
    assert monitor.observe(Updated(1, view_of(weight), 1.0, 0.1))["flips"] == {"layer": 2**80 + 1}


@pytest.mark.parametrize("every", [1, 4, 100])
def test_the_counts_of_an_epoch_are_those_of_its_steps(every: int) -> None:
    """The tiny run has 224 blocks and takes 4 a step: epochs end with steps 56 and 112."""
    steps = train(tiny_run(monitors=[Flips()], steps=120)).of("reading")
    found = train(tiny_run(monitors=[Flips(every=every)], steps=120)).of("reading")
    ends = (56, 112)
    for path, elements in (("hidden", 128), ("wide", 256)):
        totals = {r["step"]: r["values"][path] for r in steps if r["reading"] == "flips"} | {0: 0}
        flips = {end: totals[end] - totals[begin] for begin, end in zip((0, *ends), ends, strict=False)}
        due = {-(-end // every) * every: end for end in ends}  # of two epochs in one window the last
        told = {r["step"]: r["values"][path] for r in found if r["reading"] == "epoch-flips"}
        assert told == {step: flips[end] for step, end in due.items() if step <= 120}
        rates = {r["step"]: r["values"][path] for r in found if r["reading"] == "epoch-flip-rate"}
        begins = dict(zip(ends, (0, *ends), strict=False))
        assert rates == {s: flips[e] / (elements * (e - begins[e])) for s, e in due.items() if s <= 120}


def test_an_epoch_that_was_not_seen_from_its_first_step_is_left_out() -> None:
    found = train(tiny_run(monitors=[Flips(start=2)], steps=120)).of("reading")
    assert [r["step"] for r in found if r["reading"] == "epoch-updates"] == [112]

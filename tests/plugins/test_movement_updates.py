"""Updates without effect, recomputed one element at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from altgrad_movement import Flips, Updates
from torch import Tensor

from altgrad_core import Geometry, Updated, Weight, load_format
from altgrad_core.testing.tiny import TinyDescent, tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def weight_of(before: Tensor, after: Tensor, gradient: Tensor, geometry: Geometry) -> Weight:
    return Weight("layer", after, gradient, before=before, geometry=geometry, rungs_before=geometry.rung(before))


@pytest.mark.parametrize("format", EIGHT)
def test_counts_and_rates_are_those_of_the_definition(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any], view_of: Callable[..., SimpleNamespace]
) -> None:
    scale, generator = 2.0**-3, torch.Generator().manual_seed(0)
    geometry, grid = Geometry.of(load_format(format), scale), obvious(load_format(format), scale)
    weight, monitor = weights_of(load_format(format))[::3] * scale, Updates(every=2)
    stalls, unchanged, updates = [], [], []
    for step in range(1, 5):
        gradient = torch.randint(-1, 2, weight.shape, generator=generator).float()
        factors = 1 + 0.1 * torch.randn(weight.shape, generator=generator)
        after = torch.where(torch.rand(weight.shape, generator=generator) < 0.3, weight, weight * factors)
        readings = monitor.observe(Updated(step, view_of(weight_of(weight, after, gradient, geometry)), 1.0, 0.1))
        triples = list(zip(weight.tolist(), after.tolist(), gradient.tolist(), strict=True))
        updates.append(sum(g != 0 for _, _, g in triples))
        stalls.append(sum(g != 0 and grid.rung(x) == grid.rung(y) for x, y, g in triples))
        unchanged.append(sum(g != 0 and x == y for x, y, g in triples))
        weight = after
        if step % 2:
            assert readings == {}
            continue
        assert 0 < sum(unchanged[-2:]) < sum(stalls[-2:]) < sum(updates[-2:])
        assert readings == {
            "zero-update-fraction": {"layer": sum(unchanged[-2:]) / sum(updates[-2:])},
            "bit-stalls": {"layer": sum(stalls)},
            "bit-stall-rate": {"layer": sum(stalls[-2:]) / sum(updates[-2:])},
        }


def test_without_updates_there_are_no_rates(view_of: Callable[..., SimpleNamespace]) -> None:
    geometry, zeros = Geometry.of(load_format("e4m3")), torch.zeros(4)
    seen = weight_of(zeros, zeros + 1, zeros, geometry)
    assert Updates().observe(Updated(1, view_of(seen), 1.0, 0.1)) == {
        "zero-update-fraction": {},
        "bit-stalls": {"layer": 0},
        "bit-stall-rate": {},
    }


def test_a_weight_with_a_nan_is_left_out(view_of: Callable[..., SimpleNamespace]) -> None:
    geometry, ones = Geometry.of(load_format("e4m3")), torch.ones(2)
    seen = weight_of(ones, torch.tensor([1.0, float("nan")]), ones, geometry)
    assert not any(Updates().observe(Updated(1, view_of(seen), 1.0, 0.1)).values())


@pytest.mark.parametrize("format", EIGHT)
def test_a_bit_stall_is_an_update_that_is_no_flip(format: str) -> None:
    tape = train(tiny_run(format=load_format(format), monitors=[Updates(every=3), Flips(every=3)]))
    by_name = {(r["step"], r["reading"]): r["values"] for r in tape.of("reading")}
    for step in (3, 6, 9, 12):
        assert by_name[step, "bit-stall-rate"] == pytest.approx(by_name[step, "stall-ratio"], abs=1e-15)


def test_steps_too_small_for_float32_are_zero_updates() -> None:
    tape = train(tiny_run(optimizer=TinyDescent(lr=1e-30), monitors=[Updates()]), until=1)
    values = {record["reading"]: record["values"] for record in tape.of("reading")}
    assert values["zero-update-fraction"]["wide"] > 0.99  # zeros move, whatever the step
    assert values["bit-stall-rate"] == {"hidden": 1.0, "wide": 1.0}


@pytest.mark.parametrize("format", EIGHT)
def test_a_resumed_run_counts_the_same(format: str) -> None:
    def run() -> Any:
        return tiny_run(format=load_format(format), monitors=[Updates(every=4)])

    first, second = run(), run()
    tape = train(first, until=6)
    second.restore(first.files())
    assert train(second, tape).of("reading") == train(run()).of("reading")

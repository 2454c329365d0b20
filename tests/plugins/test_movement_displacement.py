"""Displacement in rungs, recomputed by plain Python from the rungs of each format."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from fractions import Fraction
from math import ceil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from altgrad_movement import Displacement
from torch import Tensor

from altgrad_core import Geometry, Updated, Weight, load_format
from altgrad_core.testing.tiny import tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def observed(before: Tensor, after: Tensor, geometry: Geometry | None, view_of: Callable[..., SimpleNamespace]) -> Any:
    seen = Weight("layer", after, before=before, geometry=geometry)
    readings = Displacement(every=1).observe(Updated(1, view_of(seen), 1.0, 0.1))
    return {name.removeprefix("displacement-"): values["layer"] for name, values in readings.items()}


def quality(grid: Any, pairs: list[tuple[float, float]]) -> float:
    """The share of the step that arrives after rounding, one element at a time."""
    rounded = [(grid.value(grid.rung(x)), grid.value(grid.rung(y))) for x, y in pairs]
    inner = math.fsum((q - p) * (y - x) for (p, q), (x, y) in zip(rounded, pairs, strict=True))
    return inner / math.fsum((y - x) ** 2 for x, y in pairs)


@pytest.mark.parametrize("scale", [1.0, 2.0**-3, 0.3])
@pytest.mark.parametrize("format", EIGHT)
def test_statistics_are_those_of_the_definition(
    format: str,
    scale: float,
    weights_of: Callable[..., Tensor],
    obvious: Callable[..., Any],
    view_of: Callable[..., SimpleNamespace],
) -> None:
    generator = torch.Generator().manual_seed(0)
    scale = float(torch.tensor(scale))
    grid = obvious(load_format(format), scale)
    before = weights_of(load_format(format)) * scale
    factors = 1 + 0.1 * torch.randn(before.shape, generator=generator)
    after = torch.where(torch.rand(before.shape, generator=generator) < 0.3, before, before * factors)
    pairs = list(zip(before.tolist(), after.tolist(), strict=True))
    moves = [grid.position(y) - grid.position(x) for x, y in pairs]
    sizes = sorted(map(abs, moves))
    moved = [abs(move) for move, (x, y) in zip(moves, pairs, strict=True) if x != y]
    expected = {
        "mean": statistics.fmean(moves),
        "mean-abs": statistics.fmean(sizes),
        "std": statistics.pstdev(moves),
        **{f"p{p}": sizes[ceil(Fraction(p, 100) * len(sizes)) - 1] for p in (50, 90, 99)},
        "cv": statistics.pstdev(sizes) / statistics.fmean(sizes),
        "below-half": sum(size < 0.5 for size in moved) / len(moved),
        "effective-descent-quality": quality(grid, pairs),
    }
    near = 1e-4 if scale == float(torch.tensor(0.3)) else 1e-9  # weight / scale is then a rounded float32
    assert observed(before, after, Geometry.of(load_format(format), scale), view_of) == {
        name: pytest.approx(value, rel=near, abs=near) for name, value in expected.items()
    }


def test_moves_by_hand(view_of: Callable[..., SimpleNamespace]) -> None:
    before, after = torch.tensor([0.0, 0.5, 0.5, -1.0]), torch.tensor([0.0, 0.75, 0.5 - 1 / 512, -0.5])
    assert observed(before, after, Geometry.of(load_format("e0m7")), view_of) == {  # a rung is 1/128
        "mean": (32 - 0.25 + 64) / 4,
        "mean-abs": (32 + 0.25 + 64) / 4,
        "std": pytest.approx(statistics.pstdev([0, 32, -0.25, 64])),
        "p50": 0.25,
        "p90": 64.0,
        "p99": 64.0,
        "cv": pytest.approx(statistics.pstdev([0, 32, 0.25, 64]) / 24.0625),
        "below-half": 1 / 3,
        "effective-descent-quality": pytest.approx(  # -1 is beyond the end, -127/128
            (0.25**2 + 0.5 * (0.5 - 1 / 128)) / (0.25**2 + 0.5**2 + 1 / 512**2)
        ),
    }


def test_of_a_step_from_rung_to_rung_all_arrives_and_of_a_small_one_nothing(
    view_of: Callable[..., SimpleNamespace],
) -> None:
    geometry, ones = Geometry.of(load_format("e4m3")), torch.ones(3)
    for after, expected in ((ones * 1.125, 1.0), (ones * 1.001, 0.0)):
        assert observed(ones, after, geometry, view_of)["effective-descent-quality"] == expected


def test_a_weight_that_rests_has_no_shares(view_of: Callable[..., SimpleNamespace]) -> None:
    ones = torch.ones(3)
    names = ("mean", "mean-abs", "std", "p50", "p90", "p99")
    assert observed(ones, ones, Geometry.of(load_format("e4m3")), view_of) == dict.fromkeys(names, 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_left_out(value: float, view_of: Callable[..., SimpleNamespace]) -> None:
    ones, broken, geometry = torch.ones(2), torch.tensor([1.0, value]), Geometry.of(load_format("e4m3"))
    assert observed(ones, broken, geometry, view_of) == observed(broken, broken, geometry, view_of) == {}


def test_a_weight_without_a_grid_or_without_elements_is_left_out(view_of: Callable[..., SimpleNamespace]) -> None:
    ones, none = torch.ones(2), torch.zeros(0)
    assert observed(ones, ones, None, view_of) == {}
    assert observed(none, none, Geometry.of(load_format("e4m3")), view_of) == {}


def test_one_grid_up_to_a_power_of_two_gives_one_displacement() -> None:
    tapes = [train(tiny_run(format=load_format(name), monitors=[Displacement(every=1)])) for name in ("e0m7", "e1m6")]
    assert tapes[0].of("reading") == tapes[1].of("reading")

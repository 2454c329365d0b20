"""Geometry of weights and of steps, recomputed one element at a time."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from altgrad_geometry import BitSpace, CodeUse, GradientStiffness, GridAlignment, Stiffness
from altgrad_geometry.tables import by_reading, correlation, quantiles, slope, variation
from torch import Tensor

from altgrad_core import Backpropagated, Format, Geometry, Updated, Weight, load_format
from altgrad_core.testing.tiny import changed, everything, tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
UNIFORM = ("e0m7", "e1m6")
NAN, INF = float("nan"), float("inf")
BROKEN = torch.tensor([NAN, INF, -INF])
SCALE = 2.0**-3


def width(format: Format, x: float) -> float:
    """The width of the cell of x at SCALE, on a rung of the one away from zero."""
    rungs = [value for value in format.grid.values if value >= 0]
    cell = min(bisect_right(rungs, abs(x) / SCALE), len(rungs) - 1)
    return (rungs[cell] - rungs[cell - 1]) * SCALE


def at_most(share: int, values: list[float]) -> float:
    """The smallest of the values that at least `share` per cent of them do not exceed."""
    return min(v for v in values if 100 * sum(w <= v for w in values) >= share * len(values))


def observed(monitor: Any, view: Any) -> dict[str, Any]:
    event = Updated(1, view, 1.0, 0.1) if monitor.on is Updated else Backpropagated(1, view, 1.0, 1.0)
    readings: dict[str, Any] = monitor.observe(event)
    return {name: values for name, values in readings.items() if values}


def of_layer(readings: dict[str, Any]) -> dict[str, float]:
    assert all(set(values) == {"layer"} for values in readings.values())
    return {name: values["layer"] for name, values in readings.items()}


@pytest.mark.parametrize("format", EIGHT)
def test_stiffness_is_the_width_of_the_cells(
    format: str, weights_of: Callable[..., Tensor], view_of: Callable[..., Any]
) -> None:
    found = load_format(format)
    weight = torch.cat([weights_of(found)[::2], BROKEN]) * SCALE
    widths = [width(found, x) for x in weight.tolist() if math.isfinite(x)]
    narrowest = min(b - a for a, b in zip(found.grid.values, found.grid.values[1:], strict=False)) * SCALE
    readings = observed(Stiffness(), view_of(Weight("layer", weight, geometry=Geometry.of(found, SCALE))))
    assert of_layer(readings) == {
        "stiffness-mean": pytest.approx(math.fsum(widths) / len(widths)),
        "stiffness-min": min(widths),
        "stiffness-q10": at_most(10, widths),
        "stiffness-median": at_most(50, widths),
        "stiffness-q90": at_most(90, widths),
        "stiffness-max": max(widths),
        "narrowest-fraction": sum(s == narrowest for s in widths) / len(widths),
    }
    assert (readings["narrowest-fraction"]["layer"] == 1) == (format in UNIFORM)


def test_the_narrowest_spacing_is_that_of_each_row(view_of: Callable[..., Any]) -> None:
    weight = torch.tensor([[0.001, 1.0], [0.001, 1.0]])
    geometry = Geometry.of(load_format("e4m3"), torch.tensor([[1.0], [91.4]]))  # one is not a power of two
    readings = observed(Stiffness(), view_of(Weight("layer", weight, geometry=geometry)))
    assert readings["narrowest-fraction"] == {"layer": 0.75}  # 1.0 is subnormal in the second row alone


@pytest.mark.parametrize("format", EIGHT)
def test_alignment_is_the_distance_to_the_nearest_rung(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any], view_of: Callable[..., Any]
) -> None:
    found = load_format(format)
    weight = torch.cat([weights_of(found)[::3], BROKEN]) * SCALE
    grid = obvious(found, SCALE)
    finite = [x for x in weight.tolist() if math.isfinite(x)]
    distances = [min(abs(x - value) for value in grid.values) / width(found, x) for x in finite]
    readings = observed(GridAlignment(), view_of(Weight("layer", weight, geometry=Geometry.of(found, SCALE))))
    assert of_layer(readings) == {
        "grid-alignment-mean": pytest.approx(statistics.fmean(distances)),
        "grid-alignment-q10": at_most(10, distances),
        "grid-alignment-median": at_most(50, distances),
        "grid-alignment-q90": at_most(90, distances),
        "on-grid-fraction": sum(x in grid.values for x in finite) / len(finite),
    }
    assert 0 < readings["on-grid-fraction"]["layer"] < 1


@pytest.mark.parametrize("scale", [2.0**-9, 0.3, 1e-5])
@pytest.mark.parametrize("format", EIGHT)
def test_alignment_is_also_the_fraction_of_a_rung_between_position_and_rung(
    format: str, scale: float, weights_of: Callable[..., Tensor], view_of: Callable[..., Any]
) -> None:
    geometry = Geometry.of(load_format(format), scale)
    weight = weights_of(load_format(format)) * scale
    by_position = (geometry.position(weight) - geometry.rung(weight)).abs()
    readings = observed(GridAlignment(), view_of(Weight("layer", weight, geometry=geometry)))
    assert readings["grid-alignment-mean"] == {"layer": pytest.approx(float(by_position.mean()), rel=1e-4)}


@pytest.mark.parametrize("scale", [1.0, 0.3, 1e-5])
@pytest.mark.parametrize("format", EIGHT)
def test_weights_that_were_put_on_the_grid_are_on_it(format: str, scale: float, view_of: Callable[..., Any]) -> None:
    geometry = Geometry.of(load_format(format), scale)
    rungs = torch.arange(geometry.lowest_rung, geometry.highest_rung + 1)
    weight = Weight("layer", geometry.value(rungs), geometry=geometry)
    assert set(of_layer(observed(GridAlignment(), view_of(weight))).values()) == {0.0, 1.0}
    assert of_layer(observed(CodeUse(), view_of(weight)))["code-use"] == 1


@pytest.mark.parametrize("format", EIGHT)
def test_gradients_are_correlated_with_the_width_of_the_cells(
    format: str, weights_of: Callable[..., Tensor], view_of: Callable[..., Any]
) -> None:
    found, generator = load_format(format), torch.Generator().manual_seed(1)
    weight = torch.cat([weights_of(found), BROKEN]) * SCALE
    gradient = torch.randn(weight.shape, generator=generator) * weight.abs().clamp(1e-9, 1e9).sqrt()
    gradient[::5] = 0.0
    gradient[1::50] = torch.tensor([NAN, INF]).repeat(len(gradient))[: len(gradient[1::50])]
    pairs = [
        (math.log(abs(g)), math.log(width(found, w)))
        for g, w in zip(gradient.tolist(), weight.tolist(), strict=True)
        if math.isfinite(g) and g != 0 and math.isfinite(w)
    ]
    view = view_of(Weight("layer", weight, gradient, geometry=Geometry.of(found, SCALE)))
    readings = observed(GradientStiffness(), view)
    if format in UNIFORM:
        assert readings == {}
    else:
        assert of_layer(readings)["gradient-stiffness"] == pytest.approx(np.corrcoef(*zip(*pairs, strict=True))[0, 1])
        assert readings["gradient-stiffness"]["layer"] > 0.3


@pytest.mark.parametrize("format", EIGHT)
def test_use_of_codes_is_that_of_their_histogram(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any], view_of: Callable[..., Any]
) -> None:
    found = load_format(format)
    some = weights_of(found)
    weight = torch.cat([some[:40], some[:20], some[-4:], torch.zeros(9), BROKEN]) * SCALE
    grid = obvious(found, SCALE)
    rungs = Counter(grid.rung(x) for x in weight.tolist() if math.isfinite(x))
    shares = [count / rungs.total() for count in rungs.values()]
    ends = rungs[-grid.origin] + rungs[len(grid.values) - 1 - grid.origin]
    readings = observed(CodeUse(), view_of(Weight("layer", weight, geometry=Geometry.of(found, SCALE))))
    assert of_layer(readings) == {
        "code-use": pytest.approx(len(rungs) / len(grid.values)),
        "code-entropy": pytest.approx(-sum(p * math.log2(p) for p in shares)),
        "code-ends-fraction": pytest.approx(ends / rungs.total()),
    }
    assert ends > 0


def test_one_rung_has_no_entropy_and_all_of_them_the_most(view_of: Callable[..., Any]) -> None:
    found = load_format("e4m3")
    weights = {"one": torch.full((8,), 2.0), "all": torch.tensor(found.grid.values)}
    view = view_of(*(Weight(path, values, geometry=Geometry.of(found)) for path, values in weights.items()))
    readings = observed(CodeUse(), view)
    assert readings["code-entropy"] == pytest.approx({"one": 0.0, "all": math.log2(253)})  # 256 codes, 2 NaN, 2 zeros
    assert readings["code-use"] == pytest.approx({"one": 1 / 253, "all": 1.0})
    assert readings["code-ends-fraction"] == pytest.approx({"one": 0.0, "all": 2 / 253})


@pytest.mark.parametrize("format", EIGHT)
def test_steps_are_measured_in_rungs_and_in_value(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any], view_of: Callable[..., Any]
) -> None:
    found, generator = load_format(format), torch.Generator().manual_seed(2)
    before = torch.cat([weights_of(found)[::2], BROKEN]) * SCALE
    after = before * (1 + 0.2 * torch.randn(before.shape, generator=generator))
    after[::4] = before[::4]
    after[2] = NAN
    gradient = torch.randint(-1, 2, before.shape, generator=generator).float()
    grid = obvious(found, SCALE)
    all_moves = [
        (abs(grid.position(b) - grid.position(a)), abs(b - a), width(found, a), g)
        for a, b, g in zip(before.tolist(), after.tolist(), gradient.tolist(), strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]
    rungs, way, widths, _ = zip(*(move for move in all_moves if move[0] > 0), strict=True)
    small = [move[0] < 0.5 for move in all_moves if move[3]]
    readings = of_layer(
        observed(BitSpace(), view_of(Weight("layer", after, gradient, before, Geometry.of(found, SCALE))))
    )
    line = {} if format in UNIFORM else {"bit-space-slope": np.polyfit(np.log(widths), np.log(rungs), 1)[0]}
    assert readings == pytest.approx(
        {
            **line,
            "bit-space-cv": statistics.pstdev(rungs) / statistics.fmean(rungs),
            "weight-space-cv": statistics.pstdev(way) / statistics.fmean(way),
            "bit-space-below-half": sum(small) / len(small),
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("format", EIGHT)
def test_equal_steps_in_rungs_have_slope_0_and_equal_steps_in_value_slope_minus_1(
    format: str, view_of: Callable[..., Any]
) -> None:
    geometry = Geometry.of(load_format(format), SCALE)
    cells = torch.arange(max(1, geometry.highest_rung - 40), geometry.highest_rung).double()
    before, in_rungs = geometry.value(cells + 0.25), geometry.value(cells + 0.75)
    smallest = geometry.spacing(before).min()
    in_value = before + smallest / 4
    gradient = torch.ones_like(before)
    steps = {"rungs": in_rungs, "value": in_value}
    view = view_of(*(Weight(path, after, gradient, before, geometry) for path, after in steps.items()))
    readings = observed(BitSpace(), view)
    assert readings["bit-space-cv"]["rungs"] == pytest.approx(0.0, abs=1e-5)
    if format in UNIFORM:
        assert "bit-space-slope" not in readings
    else:
        assert readings["bit-space-slope"]["rungs"] == pytest.approx(0.0, abs=1e-5)
    if format in ("e2m5", "e3m4", "e4m3", "e5m2"):  # elsewhere the step is lost in float32, or the grid uniform
        assert readings["weight-space-cv"]["value"] == pytest.approx(0.0, abs=1e-3)
        assert readings["bit-space-slope"]["value"] == pytest.approx(-1.0, abs=1e-3)
    assert readings["bit-space-below-half"]["value"] == 1.0


@pytest.mark.parametrize("format", UNIFORM)
@pytest.mark.parametrize("scale", [0.3, 1e-5, 7e4])
def test_on_a_uniform_grid_nothing_is_correlated_with_the_spacing(
    format: str, scale: float, weights_of: Callable[..., Tensor], view_of: Callable[..., Any]
) -> None:
    weight = weights_of(load_format(format)) * scale
    gradient, before = weight + scale, weight * 0.9
    view = view_of(Weight("layer", weight, gradient, before, Geometry.of(load_format(format), scale)))
    assert observed(GradientStiffness(), view) == {}  # the mean of equal logarithms need not be one of them
    assert "bit-space-slope" not in observed(BitSpace(), view)


def test_a_step_of_half_a_rung_is_not_below_half_a_rung(view_of: Callable[..., Any]) -> None:
    before, after = torch.tensor([16.0, 16.0, 16.0, 16.0]), torch.tensor([17.0, 16.9, 16.0, 20.0])  # rungs 2 apart
    view = view_of(Weight("layer", after, torch.tensor([1.0, 1, 1, 0]), before, Geometry.of(load_format("e4m3"))))
    assert observed(BitSpace(), view)["bit-space-below-half"] == {"layer": pytest.approx(2 / 3)}


def test_what_is_undefined_is_absent(view_of: Callable[..., Any]) -> None:
    geometry, zeros, nans = Geometry.of(load_format("e4m3")), torch.zeros(3), torch.full((3,), NAN)
    for monitor in (Stiffness(), GridAlignment(), GradientStiffness(), CodeUse(), BitSpace()):
        assert observed(monitor, view_of(Weight("layer", nans, nans, nans, geometry))) == {}
        assert observed(monitor, view_of(Weight("layer", zeros, zeros, zeros))) == {}  # not quantized
        assert observed(monitor, view_of()) == {}
    still = view_of(Weight("layer", zeros, zeros, zeros, geometry))
    assert observed(GradientStiffness(), still) == observed(BitSpace(), still) == {}
    alone = view_of(Weight("layer", torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([2.0]), geometry))
    assert observed(GradientStiffness(), alone) == {}
    assert set(observed(BitSpace(), alone)) == {"bit-space-cv", "weight-space-cv", "bit-space-below-half"}
    no_gradient = view_of(Weight("layer", torch.tensor([1.0]), None, torch.tensor([2.0]), geometry))
    assert observed(GradientStiffness(), no_gradient) == {}
    assert set(observed(BitSpace(), no_gradient)) == {"bit-space-cv", "weight-space-cv"}


def test_statistics_by_hand() -> None:
    x, y = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 4.0, 6.0, 8.0])
    assert (float(correlation(x, y)), float(correlation(x, -y)), float(slope(x, y))) == pytest.approx((1, -1, 2))
    assert float(variation(torch.tensor([1.0, 3.0]))) == pytest.approx(0.5)
    assert quantiles(torch.arange(1, 11)).tolist() == [1, 5, 9]
    assert quantiles(torch.tensor([7.0])).tolist() == [7, 7, 7]
    undefined = (correlation(x, torch.full((4,), 0.1)), slope(torch.full((4,), 0.1), x), variation(torch.zeros(0)))
    assert all(math.isnan(statistic) for statistic in (*undefined, variation(torch.zeros(2))))
    rows = {"a": torch.tensor([1.0, NAN]), "b": torch.tensor([NAN, 2.0])}
    assert by_reading(("one", "two"), rows) == {"one": {"a": 1.0}, "two": {"b": 2.0}}


def test_quantized_layers_of_a_run_are_reported_under_every_name() -> None:
    monitors = [kind(every=1) for kind in (Stiffness, GridAlignment, GradientStiffness, CodeUse, BitSpace)]
    records = {r["reading"]: r["values"] for r in train(tiny_run(monitors=monitors), until=1).of("reading")}
    assert set(records) == {name for monitor in monitors for name in monitor.readings()}
    assert {tuple(values) for values in records.values()} == {("hidden", "wide")}


def test_a_run_with_all_of_them_is_the_run_without() -> None:
    kinds = (Stiffness, GridAlignment, GradientStiffness, CodeUse, BitSpace)
    watched, alone = tiny_run(monitors=[kind(every=1) for kind in kinds]), tiny_run()
    train(watched)
    train(alone)
    assert changed(everything(alone), everything(watched)) == []

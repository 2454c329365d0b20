"""What rounding does to operands, recomputed one element at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from altgrad_stability import QuantizationError, Stability, WhatIf
from altgrad_stability.errors import decibels, rungs_used
from altgrad_stability.tallies import headroom
from torch import Tensor

from altgrad_core import (
    Backpropagated,
    Geometry,
    ManifestError,
    Quantizer,
    RoundedOperand,
    Scaling,
    Weight,
    load_format,
    quantize,
)
from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.testing.tiny import changed, everything, tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
NAN, INF = float("nan"), float("inf")


def event_of(*operands: RoundedOperand, step: int = 1) -> Backpropagated:
    view: Any = SimpleNamespace(operands=lambda layers: iter(operands), weights=lambda layers: iter(()))
    return Backpropagated(step, view, 1.0, 1.0)


def rounded(x: Tensor, format: str, *, scale: float = 1.0, path: str = "layer", role: Any = "weight") -> RoundedOperand:
    done = quantize(x, Quantizer(load_format(format), scaling="none"), scale=torch.tensor(scale))
    return RoundedOperand(path, role, load_format(format), done.scale, done.tally)


@pytest.mark.parametrize("role", ["weight", "activation", "gradient"])
@pytest.mark.parametrize("format", EIGHT)
def test_rates_counts_and_range_are_those_of_the_definition(
    format: str, role: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any]
) -> None:
    found, scale = load_format(format), 0.25
    tiny = torch.tensor([0.4, -0.4, 0.6, 1e-3, 0.0, -0.0]) * found.smallest_positive
    x = torch.cat([weights_of(found), tiny, torch.tensor([INF, -INF, -INF, NAN])]) * scale
    grid, values = obvious(found, scale), x.tolist()
    finite = [v for v in values if math.isfinite(v)]
    overflow = sum(abs(v) > found.largest * scale for v in values if not math.isnan(v))
    underflow = sum(v != 0 and grid.rung(v) == 0 for v in finite)
    amax = max(map(abs, finite))
    assert overflow > 3 and underflow >= 3  # the ends and beyond, and tiny ones, are among them
    readings = Stability(every=1).observe(event_of(rounded(x, format, scale=scale, role=role)))
    assert {name: by_layer for name, by_layer in readings.items() if by_layer} == {
        f"{role}-overflow-rate": {"layer": overflow / len(values)},
        f"{role}-underflow-rate": {"layer": underflow / len(values)},
        f"{role}-nan-count": {"layer": 1},
        f"{role}-infinite-count": {"layer": 3},
        f"{role}-amax": {"layer": amax},
        f"{role}-amax-average": {"layer": amax},
        f"{role}-scale": {"layer": scale},
        f"{role}-headroom": {"layer": pytest.approx(math.log2(scale) + math.log2(found.largest) - math.log2(amax))},
    }


def test_counts_are_whole_numbers() -> None:
    readings = Stability(every=1).observe(event_of(rounded(torch.tensor([NAN, INF]), "e4m3")))
    assert all(type(readings[f"weight-{name}-count"]["layer"]) is int for name in ("nan", "infinite"))


def test_headroom_by_hand() -> None:
    assert headroom(448.0, scale=1.0, largest=448.0) == 0.0
    assert headroom(112.0, scale=1.0, largest=448.0) == 2.0
    assert headroom(112.0, scale=0.125, largest=448.0) == -1.0
    assert headroom(0.0, scale=1.0, largest=448.0) is None


def test_the_average_follows_every_step_whatever_is_reported() -> None:
    monitor, expected = Stability(every=3, decay=0.75), 0.0
    for step, amax in enumerate([1.0, 3.0, 2.0, 0.0, 5.0, 4.0], start=1):
        expected = amax if step == 1 else 0.75 * expected + 0.25 * amax
        readings = monitor.observe(event_of(rounded(torch.tensor([amax, -amax / 2]), "e4m3"), step=step))
        if step % 3:
            assert readings == {}
        else:
            assert readings["weight-amax-average"] == {"layer": pytest.approx(expected)}
            assert readings["weight-amax"] == {"layer": amax}


def test_averages_of_layers_and_roles_are_kept_apart() -> None:
    kinds = [(path, role) for path in ("one", "two") for role in ("weight", "activation", "gradient")]
    operands = [rounded(torch.tensor([float(n)]), "e4m3", path=p, role=r) for n, (p, r) in enumerate(kinds, start=1)]
    monitor = Stability(every=1)
    for step in (1, 2):
        readings = monitor.observe(event_of(*operands, step=step))
    assert [readings[f"{role}-amax-average"][path] for path, role in kinds] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_what_is_undefined_is_absent() -> None:
    zeros, empty = rounded(torch.zeros(3), "e4m3", path="zeros"), rounded(torch.zeros(0), "e4m3", path="empty")
    unseen = RoundedOperand("unseen", "weight", load_format("e4m3"), torch.ones(()), None)
    broken = rounded(torch.full((2,), NAN), "e4m3", path="broken")
    readings = Stability(every=1).observe(event_of(zeros, empty, unseen, broken))
    assert readings["weight-headroom"] == {}
    assert readings["weight-overflow-rate"] == {"zeros": 0.0, "broken": 0.0}
    assert readings["weight-nan-count"] == {"zeros": 0, "empty": 0, "broken": 2}
    assert readings["weight-amax"] == {"zeros": 0.0, "empty": 0.0, "broken": 0.0}


@pytest.mark.parametrize(("granularity", "scales"), [("row", [1.0, 4.0]), ("block:2", [[1.0, 0.5], [4.0, 1.0]])])
def test_of_rows_and_blocks_the_largest_scale_is_reported(granularity: str, scales: Any) -> None:
    x = torch.tensor([[448.0, 1.0, 224.0, 0.0], [1.0, 1792.0, 448.0, 3.0]])
    how = Quantizer(load_format("e4m3"), scaling=Scaling("amax", granularity=granularity))
    done = quantize(x, how)
    assert done.scale.squeeze(-1).tolist() == scales
    facts = RoundedOperand("layer", "activation", how.target, done.scale, done.tally)
    readings = Stability(every=1).observe(event_of(facts))
    assert readings["activation-scale"] == {"layer": 4.0}
    assert readings["activation-headroom"] == {"layer": 0.0}


def test_a_run_shows_all_roles_of_the_quantized_layers_as_they_were_in_the_forward_pass() -> None:
    run = tiny_run(monitors=[Stability(every=1)])
    begin = {path: getattr(run.model, path).weight.detach().clone() for path in ("hidden", "wide")}
    records = {r["reading"]: r["values"] for r in train(run, until=1).of("reading")}
    roles = ("weight-", "activation-", "gradient-")
    assert set(records) == {name for name in Stability().readings() if name.startswith(roles)}
    assert {tuple(values) for values in records.values()} == {("hidden", "wide")}
    assert records["weight-amax"] == {path: float(weight.abs().max()) for path, weight in begin.items()}


def test_a_run_that_reports_rarely_has_the_same_averages() -> None:
    averages = []
    for every in (1, 4):
        tape = train(tiny_run(monitors=[Stability(every=every)]), until=8)
        averages.append([r["values"] for r in tape.of("reading") if r["step"] == 8 and "average" in r["reading"]])
    assert averages[0] == averages[1] != []


def test_averages_between_reports_are_fetched_when_they_are_saved_and_now_and_then() -> None:
    often, rarely = Stability(every=1), Stability(every=10**6)
    for step in range(1, 251):
        for monitor in (often, rarely):
            monitor.observe(event_of(rounded(torch.tensor([float(step % 7)]), "e4m3"), step=step))
        assert len(rarely._waiting) < 100
    assert len(rarely._waiting) == 50
    assert rarely.state_dict() == often.state_dict() == {"_averages": often._averages, "_waiting": []}
    assert rarely._averages["weight"] != {}


@pytest.mark.parametrize("format", EIGHT)
def test_the_error_of_a_weight_is_that_of_exact_fractions(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any], view_of: Callable[..., Any]
) -> None:
    found, scale = load_format(format), 2.0**-3
    weight = torch.cat([weights_of(found)[::7], torch.tensor([NAN, INF, -INF])]) * scale
    grid = obvious(found, scale)
    finite = [v for v in weight.tolist() if math.isfinite(v)]
    signal = sum(Fraction(v) ** 2 for v in finite)
    noise = sum((Fraction(v) - Fraction(grid.values[grid.rung(v) + grid.origin])) ** 2 for v in finite)
    view = view_of(Weight("layer", weight, geometry=Geometry.of(found, scale)), Weight("plain", weight))
    assert QuantizationError(every=1).observe(Backpropagated(1, view, 1.0, 1.0)) == {
        "quantization-mse": {"layer": pytest.approx(float(noise / len(finite)), rel=1e-12)},
        "quantization-sqnr": {"layer": pytest.approx(10 * math.log10(signal / noise), abs=1e-9)},
    }


def test_errors_that_are_none_or_undefined(view_of: Callable[..., Any]) -> None:
    kinds = {"exact": [1.0, -2.0, 0.5], "zero": [0.0, 0.0], "broken": [NAN, INF], "some": [1.0, NAN]}
    geometry = Geometry.of(load_format("e4m3"))
    view = view_of(*(Weight(path, torch.tensor(values), geometry=geometry) for path, values in kinds.items()))
    assert QuantizationError(every=1).observe(Backpropagated(1, view, 1.0, 1.0)) == {
        "quantization-mse": {"exact": 0.0, "zero": 0.0, "some": 0.0},
        "quantization-sqnr": {"exact": 200.0, "some": 200.0},
    }


def test_each_row_has_an_error_at_its_own_scale(view_of: Callable[..., Any]) -> None:
    weight = torch.tensor([[17.0, 16.0], [17.0, 16.0]])
    geometry = Geometry.of(load_format("e0m7"), torch.tensor([[128.0], [256.0]]))  # whole numbers; even numbers
    readings = QuantizationError(every=1).observe(
        Backpropagated(1, view_of(Weight("layer", weight, geometry=geometry)), 1.0, 1.0)
    )
    assert readings["quantization-mse"] == {"layer": 0.25}  # 17 becomes 16 in the second row alone


def test_decibels_by_hand() -> None:
    assert decibels(100.0, 1.0) == pytest.approx(20.0)
    assert decibels(1.0, 0.0) == decibels(1.0, 1e-30) == 200.0
    assert decibels(0.0, 0.0) is None


def test_rungs_are_counted_once_each() -> None:
    assert int(rungs_used(torch.tensor([[-3, 0], [0, 200]], dtype=torch.int32))) == 3


def scale_by_definition(amax: float, largest: float, rounding: str) -> float:
    if rounding == "exact":
        return float(np.float32(amax / largest))
    if rounding == "mx-floor":
        return 2.0 ** (math.floor(math.log2(amax)) - math.floor(math.log2(largest)))
    return min(2.0**k for k in range(-120, 120) if Fraction(2) ** k * Fraction(largest) >= Fraction(amax))


@pytest.mark.parametrize("rounding", ["up", "exact", "mx-floor"])
@pytest.mark.parametrize("format", EIGHT)
def test_another_format_costs_what_rounding_to_it_costs(
    format: str, rounding: Any, obvious: Callable[..., Any], view_of: Callable[..., Any]
) -> None:
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(6, 20, generator=generator) * torch.logspace(-9, 0, 20, base=10)
    weight[0, :3] = torch.tensor([NAN, INF, 0.0])
    finite = [v for v in weight.flatten().tolist() if math.isfinite(v)]
    found = load_format(format)
    scale = scale_by_definition(max(map(abs, finite)), found.largest, rounding)
    grid = obvious(found)
    quotients = [float(np.float32(v) / np.float32(scale)) for v in finite]
    rungs = [grid.rung(q) for q in quotients]
    nearest = [float(np.float32(grid.values[rung + grid.origin] * scale)) for rung in rungs]
    noise = sum((v - q) ** 2 for v, q in zip(finite, nearest, strict=True))
    monitor = WhatIf(every=1, formats=[format], scale_rounding=rounding)
    readings = monitor.observe(Backpropagated(1, view_of(Weight("plain", weight)), 1.0, 1.0))
    assert readings == {
        f"what-if-{format}-overflow-rate": {"plain": sum(abs(q) > found.largest for q in quotients) / len(finite)},
        f"what-if-{format}-underflow-rate": {
            "plain": sum(r == 0 and v != 0 for r, v in zip(rungs, finite, strict=True)) / len(finite)
        },
        f"what-if-{format}-sqnr": {"plain": pytest.approx(10 * math.log10(sum(v * v for v in finite) / noise))},
        f"what-if-{format}-rungs-used": {"plain": len(set(rungs))},
    }
    assert (readings[f"what-if-{format}-overflow-rate"]["plain"] > 0) <= (rounding != "up")


def test_what_if_agrees_with_the_error_of_the_format_in_force() -> None:
    monitors = [WhatIf(every=1, formats=["e4m3"]), QuantizationError(every=1)]
    records = {r["reading"]: r["values"] for r in train(tiny_run(monitors=monitors), until=1).of("reading")}
    here = records["quantization-sqnr"]
    assert set(here) == {"hidden", "wide"}
    assert {path: records["what-if-e4m3-sqnr"][path] for path in here} == pytest.approx(here)
    assert set(records["what-if-e4m3-sqnr"]) == {"embed", "hidden", "wide", "head"}  # quantized or not


def test_broken_and_zero_weights_cost_nothing(view_of: Callable[..., Any]) -> None:
    view = view_of(Weight("broken", torch.full((2, 2), NAN)), Weight("zero", torch.zeros(2, 2)))
    readings = WhatIf(every=1, formats=["e5m2"]).observe(Backpropagated(1, view, 1.0, 1.0))
    assert readings == {
        "what-if-e5m2-overflow-rate": {"zero": 0.0},
        "what-if-e5m2-underflow-rate": {"zero": 0.0},
        "what-if-e5m2-rungs-used": {"zero": 1},
    }


def test_formats_of_any_case_are_known_and_others_refused_before_the_run(tmp_path: Path) -> None:
    text = '[run]\nsteps = 1\n[model]\nuse = "nanogpt"\n[data]\nuse = "python-docs"\n[optimizer]\nuse = "adamw"\n'
    manifest = tmp_path / "run.toml"
    manifest.write_text(text + '[[monitor]]\nuse = "what-if"\nformats = ["E4M3", "e5m2"]\n')
    assert resolve(load_manifest(manifest), installed()).monitors == (WhatIf(formats=["e4m3", "e5m2"]),)
    manifest.write_text(text + '[[monitor]]\nuse = "what-if"\nformats = ["e4m3", "e4m4"]\n')
    with pytest.raises(ManifestError) as caught:
        resolve(load_manifest(manifest), installed())
    assert str(caught.value) == f'{manifest}:9: monitor[0]: no format "e4m4"; did you mean "e4m3"?'
    manifest.write_text(text + '[[monitor]]\nuse = "what-if"\nformats = ["fp32"]\n')
    with pytest.raises(ManifestError) as caught:
        resolve(load_manifest(manifest), installed())
    assert str(caught.value) == f'{manifest}:9: monitor[0]: "fp32" is the identity: nothing is rounded to it'


def test_any_installed_format_may_be_asked_about() -> None:
    monitor = WhatIf(formats=["binary8p3", "bf16"])
    assert monitor.readings()[:2] == ("what-if-binary8p3-overflow-rate", "what-if-binary8p3-underflow-rate")
    records = train(tiny_run(monitors=[WhatIf(every=1, formats=["binary8p3"])], steps=2)).of("reading")
    assert {r["reading"] for r in records} == {
        f"what-if-binary8p3-{cost}" for cost in ("overflow-rate", "underflow-rate", "sqnr", "rungs-used")
    }


def test_a_run_with_all_of_them_is_the_run_without() -> None:
    watched = tiny_run(monitors=[Stability(every=1), QuantizationError(every=1), WhatIf(every=1)])
    alone = tiny_run()
    train(watched)
    train(alone)
    assert changed(everything(alone), everything(watched)) == []

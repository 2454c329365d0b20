"""AdamW with Kahan compensation: what rounding loses is kept, and added to the next step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from altgrad_baselines.kahan import KahanAdamW
from altgrad_baselines.stochastic import StochasticAdamW
from torch import Tensor, nn

from altgrad_core import Geometry, Quantizer, Rule, build_optimizer, load_format, quantize_model
from tests.plugins.test_baselines_rounded import EIGHT, AdamWByHand, gradients_for, optimizer_of, step


@pytest.mark.parametrize("format", EIGHT)
def test_with_float32_compensation_weight_and_compensation_follow_adamw(
    format: str, weights_of: Callable[..., Tensor]
) -> None:
    weight = weights_of(load_format(format)).clamp(-30, 30)
    parameter = nn.Parameter(weight.clone())
    optimizer = optimizer_of(KahanAdamW, parameter, format=format, lr=1e-2, compensation="float32")
    twin = nn.Parameter(weight.double())
    adamw = torch.optim.AdamW([twin], lr=1e-2, weight_decay=0.0)
    for gradient in gradients_for(weight, steps=50):
        step(parameter, optimizer, gradient)
        step(twin, adamw, gradient.double())
    total = parameter.detach().double() + optimizer.state[parameter]["compensation"].double()
    torch.testing.assert_close(total, twin.detach(), rtol=1e-6, atol=1e-6)


def test_with_float32_compensation_the_forward_pass_sees_what_it_would_of_a_master() -> None:
    weight = torch.linspace(-1.0, 1.0, 999)
    grid = Geometry.of(load_format("e4m3"), 2.0**-7)
    parameter, master = nn.Parameter(weight.clone()), nn.Parameter(weight.clone())
    optimizer = optimizer_of(KahanAdamW, parameter, format="e4m3", scale=2.0**-7, lr=1e-2, compensation="float32")
    adamw = torch.optim.AdamW([master], lr=1e-2, weight_decay=0.0)
    for gradient in gradients_for(weight, steps=30):
        seen = grid.value(grid.rung(step(master, adamw, gradient)))
        assert (step(parameter, optimizer, gradient) == seen).float().mean() > 0.995


def test_with_float32_compensation_even_steps_below_the_resolution_of_float32_add_up() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = optimizer_of(KahanAdamW, parameter, format="e4m3", lr=1e-9, compensation="float32")
    for _ in range(1000):
        step(parameter, optimizer, torch.ones(1))
    assert parameter.item() == 1.0
    assert optimizer.state[parameter]["compensation"].item() == pytest.approx(-1e-6, rel=1e-4)


@pytest.mark.parametrize("compensation", ["bfloat16", "float32"])
@pytest.mark.parametrize("format", ["e0m7", "e4m3", "e7m0"])
def test_kahan_is_its_formula(
    format: str, compensation: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any]
) -> None:
    weight = weights_of(load_format(format)).clamp(-2, 2)[::7]
    grid = obvious(load_format(format))
    keep = torch.bfloat16 if compensation == "bfloat16" else torch.float32
    parameter = nn.Parameter(weight.clone())
    options = {"lr": 0.02, "weight_decay": 0.2, "compensation": compensation}
    optimizer = optimizer_of(KahanAdamW, parameter, format=format, **options)
    w = [grid.values[grid.rung(x) + grid.origin] for x in weight.tolist()]
    c = (weight - torch.tensor(w)).to(keep).tolist()
    adamw = [AdamWByHand(lr=0.02, decay=0.2) for _ in w]
    agree = 0
    for gradient in gradients_for(weight, steps=6):
        got = step(parameter, optimizer, gradient).tolist()
        for i, g in enumerate(gradient.tolist()):
            y = adamw[i].update(w[i], g) + c[i]
            s = grid.values[grid.rung(w[i] + y) + grid.origin]
            c[i] = torch.tensor(y - (s - w[i])).to(keep).item()
            w[i] = s
        agree += sum(a == b for a, b in zip(got, w, strict=True))
    assert agree >= 0.99 * 6 * len(weight)  # float32 and float64 may fall on two sides of a middle
    assert optimizer.state[parameter]["compensation"].dtype == keep


def test_without_compensation_the_same_steps_would_stall() -> None:
    for compensation in ("bfloat16", "float32"):
        parameter = nn.Parameter(torch.ones(1))
        optimizer = optimizer_of(KahanAdamW, parameter, format="e4m3", lr=0.001, compensation=compensation)
        values = [step(parameter, optimizer, torch.ones(1)).item() for _ in range(200)]
        assert values[20] == 1.0  # a rung is 1/16 below 1: a step of 0.001 alone is rounded away
        assert values[-1] == pytest.approx(1 - 0.2, abs=1 / 32)


def test_beyond_the_end_of_the_grid_the_compensation_keeps_the_rest() -> None:
    parameter = nn.Parameter(torch.tensor([127 / 128]))
    optimizer = optimizer_of(KahanAdamW, parameter, format="e0m7", lr=0.25, compensation="float32")
    step(parameter, optimizer, -torch.ones(1))
    assert parameter.item() == 127 / 128
    assert optimizer.state[parameter]["compensation"].item() == pytest.approx(0.25)


def test_what_a_switch_of_format_rounds_away_is_compensated_too() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3")))])
    optimizer = build_optimizer("adamw-kahan", plan.params(), weight_decay=0.0, compensation="float32")
    weight = model[0].weight
    before, held = weight + optimizer.state[weight]["compensation"], weight.detach().clone()
    plan.switch("0", "weight", "e6m1")
    weight.grad = torch.zeros(8, 8)
    optimizer.step()
    assert not torch.equal(weight, held)
    assert torch.equal(weight + optimizer.state[weight]["compensation"], before)


def test_what_was_compensated_survives_a_gradient_that_is_nan() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = optimizer_of(KahanAdamW, parameter, format="e4m3", lr=0.01, weight_decay=0.1)
    step(parameter, optimizer, torch.ones(1))
    kept = optimizer.state[parameter]["compensation"].clone()
    step(parameter, optimizer, torch.full((1,), math.nan))
    assert kept.item() != 0
    assert torch.equal(optimizer.state[parameter]["compensation"], kept)


def test_a_state_that_was_loaded_keeps_the_type_of_the_compensation() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(KahanAdamW, parameter, format="e4m3")
    step(parameter, optimizer, torch.ones(3))
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state[parameter]["compensation"].dtype == torch.bfloat16


@pytest.mark.parametrize("format", EIGHT)
def test_rounded_to_nearest_steps_below_half_a_rung_are_lost_every_time(format: str) -> None:
    def distance(rounding: str) -> float:
        torch.manual_seed(0)
        parameter = nn.Parameter(torch.full((4096,), 0.5))
        optimizer = optimizer_of(StochasticAdamW, parameter, format=format, lr=1e-3, rounding=rounding)
        before = parameter.detach().clone()
        for _ in range(3):
            step(parameter, optimizer, torch.ones(4096))
        return float((before - parameter.detach()).mean())

    assert distance("nearest-even") == 0.0
    assert distance("stochastic") == pytest.approx(3e-3, rel=0.5)

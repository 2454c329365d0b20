"""AdamW on the grid: stochastic rounding is unbiased, Kahan's compensation loses nothing, and nothing leaves the grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from altgrad_baselines.kahan import KahanAdamW
from altgrad_baselines.stochastic import StochasticAdamW
from torch import Tensor, nn

from altgrad_core import Geometry, Quantizer, Rule, Scaling, build_optimizer, load_format, quantize_model

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
BOTH = (StochasticAdamW, KahanAdamW)


def optimizer_of(kind: Any, parameter: nn.Parameter, *, format: str, scale: float = 1.0, **options: Any) -> Any:
    """Without decay, unless options say otherwise."""
    geometry = {parameter: Geometry.of(load_format(format), scale)}
    return kind([parameter], geometry=geometry, **{"weight_decay": 0.0, **options})


def step(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, gradient: Tensor) -> Tensor:
    parameter.grad = gradient.clone()
    optimizer.step()
    return parameter.detach().clone()


def gradients_for(weight: Tensor, *, steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(weight.shape, generator=generator) for _ in range(steps)]


class AdamWByHand:
    """u = -lr * (m / (sqrt(v) + eps) + decay * w) of one weight, in Python floats (1711.05101)."""

    def __init__(self, *, lr: float, decay: float) -> None:
        self.lr, self.decay, self.m, self.v, self.t = lr, decay, 0.0, 0.0, 0

    def update(self, w: float, g: float) -> float:
        """The step of a weight by a gradient."""
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        direction = self.m / (1 - 0.9**self.t) / (math.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)
        return -self.lr * (direction + self.decay * w)


# ---- both ----


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("format", EIGHT)
def test_the_weight_never_leaves_the_grid(
    kind: Any, format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any]
) -> None:
    weight = weights_of(load_format(format))
    parameter = nn.Parameter(weight.clone())
    optimizer = optimizer_of(kind, parameter, format=format, lr=0.3, weight_decay=0.1)
    grid = obvious(load_format(format))
    assert parameter.tolist() == [grid.values[grid.rung(w) + grid.origin] for w in weight.tolist()]
    for gradient in gradients_for(weight, steps=8):
        assert set(step(parameter, optimizer, gradient).tolist()) <= set(grid.values)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_weight_stays_at_the_ends(kind: Any, sign: float) -> None:
    parameter = nn.Parameter(torch.full((64,), sign * 127 / 128))
    optimizer = optimizer_of(kind, parameter, format="e0m7", lr=0.5)
    for _ in range(3):
        assert step(parameter, optimizer, torch.full((64,), -sign)).tolist() == [sign * 127 / 128] * 64


@pytest.mark.parametrize("kind", BOTH)
def test_a_weight_that_is_nan_stays_nan(kind: Any) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, math.nan]))
    optimizer = optimizer_of(kind, parameter, format="e4m3", lr=0.5)
    assert step(parameter, optimizer, torch.ones(2)).isnan().tolist() == [False, True]


@pytest.mark.parametrize("name", ["adamw-stochastic", "adamw-kahan"])
@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("amax", 2 * 2.0**-8),  # 448 * 2 ** -8 = 1.75 is the least that holds 1; and a binade of headroom
        (Scaling("amax", "exact"), 2 / 448),
        ("none", 1.0),
    ],
)
def test_the_scale_is_fixed_and_the_forward_pass_leaves_the_weight_as_it_is(
    name: str, scaling: Scaling | str, expected: float
) -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.linspace(-1, 1, 64).view(8, 8))
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3"), scaling=scaling))])
    optimizer = build_optimizer(name, plan.params(), lr=0.02)
    for _ in range(5):
        weight = model[0].weight.detach().clone()
        assert torch.equal(model(torch.eye(8)).T, weight)
        model(torch.eye(8)).square().sum().backward()
        optimizer.step()
        plan.step()
        assert not torch.equal(model[0].weight, weight)
    assert plan.layers["0"]["weight"].scale.item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", ["adamw-stochastic", "adamw-kahan"])
@pytest.mark.parametrize("to", ["e2m5", "e5m2", "e3m4"])
def test_after_a_switch_of_format_the_next_step_brings_every_weight_to_the_new_grid(
    name: str, to: str, obvious: Callable[..., Any]
) -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3")))])
    optimizer = build_optimizer(name, plan.params(), weight_decay=0.0)
    before = model[0].weight.flatten().tolist()
    plan.switch("0", "weight", to)
    (model(torch.eye(8)) * 0).sum().backward()
    optimizer.step()
    grid = obvious(load_format(to), plan.layers["0"]["weight"].scale.item())
    assert model[0].weight.flatten().tolist() == [grid.value(grid.rung(w)) for w in before]


@pytest.mark.parametrize("name", ["adamw-stochastic", "adamw-kahan"])
def test_parameters_without_a_grid_take_torchs_adamw_bit_for_bit(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3")))])
    plain = {"1.weight": {}, "0.bias": {"weight_decay": 0.0}, "1.bias": {"weight_decay": 0.0}}
    twins = {key: nn.Parameter(model.get_parameter(key).detach().clone()) for key in plain}
    ours = build_optimizer(name, plan.params(), lr=0.02, weight_decay=0.1)
    theirs = torch.optim.AdamW([{"params": [twins[key]], **plain[key]} for key in plain], lr=0.02, weight_decay=0.1)
    for _ in range(4):
        for path, parameter in model.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            if path in twins:
                twins[path].grad = parameter.grad.clone()
        ours.step()
        theirs.step()
    assert all(torch.equal(model.get_parameter(key), twins[key]) for key in plain)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("scale", [1.0, 2 / 448])
def test_at_rate_0_nothing_moves_after_any_number_of_steps(kind: Any, scale: float) -> None:
    weight = torch.linspace(-200, 200, 4001) * scale
    parameter = nn.Parameter(weight)
    optimizer = optimizer_of(kind, parameter, format="e4m3", scale=scale, lr=0.3 * scale, weight_decay=0.1)
    for gradient in gradients_for(weight, steps=30):
        step(parameter, optimizer, gradient)
    before = parameter.detach().clone()
    optimizer.param_groups[0]["lr"] = 0.0
    for gradient in gradients_for(weight, steps=5):
        assert torch.equal(step(parameter, optimizer, gradient), before)


# ---- stochastic rounding ----


@pytest.mark.parametrize("format", EIGHT)
@pytest.mark.parametrize("fraction", [0.25, 1.6])
def test_the_mean_of_stochastic_rounding_is_the_step_of_adamw(
    format: str, fraction: float, obvious: Callable[..., Any]
) -> None:
    grid = obvious(load_format(format))
    draws = 10_000
    torch.manual_seed(0)
    for rung in (0, 1, -3, len(grid.values) // 4, -(len(grid.values) // 5)):
        held, gap = grid.value(rung), grid.value(rung + 1) - grid.value(rung)
        lr, decay = fraction * gap, 0.01 / (fraction * gap)
        parameter = nn.Parameter(torch.full((draws, 2), held))
        optimizer = optimizer_of(StochasticAdamW, parameter, format=format, lr=lr, weight_decay=decay)
        moved = step(parameter, optimizer, torch.tensor([1.0, -1.0]).repeat(draws, 1)).double()
        for column, gradient in zip(moved.T, (1.0, -1.0), strict=True):
            wanted = held + AdamWByHand(lr=lr, decay=decay).update(held, gradient)
            below = math.floor(grid.position(wanted))
            low, high = grid.value(below), grid.value(below + 1)
            assert set(column.tolist()) == {low, high}
            chance = (wanted - low) / (high - low)
            error = (high - low) * math.sqrt(chance * (1 - chance) / draws)
            assert column.mean().item() == pytest.approx(wanted, abs=4 * error)


def test_many_small_steps_add_up_where_rounding_to_nearest_would_stall() -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.full((4000,), 0.5))
    optimizer = optimizer_of(StochasticAdamW, parameter, format="e0m7", lr=1e-4)  # 1/78 of a rung
    for _ in range(200):
        step(parameter, optimizer, torch.ones(4000))
    error = math.sqrt(200 / 78) / 128 / math.sqrt(4000)
    assert parameter.mean().item() == pytest.approx(0.5 - 0.02, abs=4 * error)


def test_one_seed_gives_one_result_and_another_seed_another() -> None:
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        parameter = nn.Parameter(torch.ones(100))
        optimizer = optimizer_of(StochasticAdamW, parameter, format="e4m3", lr=0.03)
        results.append(step(parameter, optimizer, torch.ones(100)))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


# ---- Kahan ----

"""The rates and decays of manifold-adamw, and parameters that have no grid."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from altgrad_core import Geometry, Quantizer, Rule, build_optimizer, load_format, quantize_model
from tests.plugins.test_manifold import walk, walker


def test_decay_is_a_fraction_per_step_that_follows_the_schedule() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -3.0]))
    geometry = {parameter: Geometry.of(load_format("e4m3"))}
    optimizer = walker([parameter], geometry=geometry, lr=5.0, weight_decay=0.25)
    for factor in (1.0, 0.5):
        optimizer.param_groups[0]["lr"] = 5.0 * factor
        parameter.grad = torch.zeros(2)
        optimizer.step()
    assert parameter.tolist() == [0.75 * 0.875, -3 * 0.75 * 0.875]


def test_decay_does_not_depend_on_the_rate() -> None:
    zero = [torch.zeros(1)] * 3
    weight = torch.ones(1)
    slow, fast = (walk(weight, zero, format="e4m3", lr=lr, weight_decay=0.01) for lr in (0.01, 100.0))
    assert slow.item() == fast.item() == pytest.approx(0.99**3)


def test_parameters_without_a_grid_take_adamw_at_plain_lr() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    twin = copy.deepcopy(model)
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3")))])
    ours = build_optimizer("manifold-adamw", plan.params(), plain_lr=0.02)
    theirs = torch.optim.AdamW([{"params": [twin[1].weight]}, {"params": [twin[0].bias, twin[1].bias], "weight_decay": 0.0}], lr=0.02)  # fmt: skip
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        mine.grad = torch.randn_like(mine)
        other.grad = mine.grad.clone()
    ours.step()
    theirs.step()
    assert torch.equal(model[1].weight, twin[1].weight)
    assert torch.equal(model[0].bias, twin[0].bias)
    assert not torch.equal(model[0].weight, twin[0].weight)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {(0.05, 1e-4, False), (1e-3, 0.0, True), (1e-3, 0.01, True)}),
        ({"plain_lr": 0.5, "weight_decay": 0.2}, {(0.05, 0.2, False), (0.5, 0.0, True), (0.5, 0.01, True)}),
        (
            {"precondition": "off", "lr": 3e-3},
            {(3e-3, 0.01, False), (3e-3, 0.0, True), (3e-3, 0.01, True)},
        ),
        (
            {"precondition": "gradient", "lr": 3e-3, "weight_decay": 0.1},
            {(3e-3, 0.1, False), (3e-3, 0.0, True), (3e-3, 0.1, True)},
        ),
    ],
    ids=["defaults", "own rate of plain ones", "off", "gradient"],
)
def test_rates_and_decays_of_the_groups(options: dict[str, Any], expected: set[tuple[float, float, bool]]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3")))])
    groups = build_optimizer("manifold-adamw", plan.params(), **options).param_groups
    assert {(group["lr"], group["weight_decay"], group["plain"]) for group in groups} == expected
    assert all(group["initial_lr"] == group["lr"] for group in groups)


def test_it_follows_the_format_in_force() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3"), scaling="none"))])
    optimizer = build_optimizer("manifold-adamw", plan.params(), lr=1.0, lr_unit="rungs", weight_decay=0.0)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    plan.switch("0", "weight", "e5m2")
    model[0].weight.grad = -torch.ones(4, 4)
    optimizer.step()
    assert model[0].weight.tolist() == [[pytest.approx(1.25)] * 4] * 4  # a rung of e5m2

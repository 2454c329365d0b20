"""The geometry-aware optimizers find minima, in every format, on the weights as the format has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from altgrad_core import Quantizer, Rule, build_optimizer, load_format, quantize_model

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("manifold-adamw", {"lr": 0.08}),
    ("manifold-adamw", {"lr": 0.08, "floor": 4, "moments": "carried"}),
    ("grid", {"normalize": "rms", "lr": 0.8}),
    ("grid", {"normalize": "rms", "lr": 0.8, "master": "none"}),
]


def quadratic(weight: Tensor) -> Tensor:
    """Its minimum is at weights of many sizes and both signs, each as steep as the others."""
    aim = torch.linspace(-1.0, 1.0, weight.numel()).view(weight.shape)
    return (weight - aim).square().mean()


def rosenbrock(weight: Tensor) -> Tensor:
    """Chained, over neighbours (Dixon and Mills, 1994); its minimum is 0, at ones."""
    x = weight.flatten()
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).mean()


def descend(function: Callable[[Tensor], Tensor], start: Tensor, format: str, name: str, **options: Any) -> list[float]:
    """The losses of 200 steps, at the rounded weight; the rate falls to zero along the way."""
    model = nn.Sequential(nn.Linear(start.shape[1], start.shape[0], bias=False))
    with torch.no_grad():
        model[0].weight.copy_(start)
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format(format)))])
    optimizer = build_optimizer(name, plan.params(), weight_decay=0.0, **options)
    losses = []
    for step in range(200):
        torch.default_generator.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - step / 200)
        loss = function(model(torch.eye(start.shape[1])).T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("format", EIGHT)
@pytest.mark.parametrize(("name", "options"), WAYS, ids=str)
def test_a_quadratic_is_descended(format: str, name: str, options: dict[str, Any]) -> None:
    start = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    losses = descend(quadratic, start, format, name, **options)
    assert losses[-1] < 0.25 * losses[0]  # in a steep format few weights change their sign


@pytest.mark.parametrize("format", EIGHT)
@pytest.mark.parametrize(("name", "options"), WAYS, ids=str)
def test_rosenbrocks_valley_is_descended(format: str, name: str, options: dict[str, Any]) -> None:
    start = torch.full((2, 4), 0.4) + torch.arange(8).view(2, 4) * 0.01
    losses = descend(rosenbrock, start, format, name, **options)
    assert losses[-1] < (0.75 if format == "e7m0" else 0.25) * losses[0]  # powers of two leave it few ways to go

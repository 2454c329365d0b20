"""Quantized layers under autocast, gradient penalties and the transforms of torch.func."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag
from tests.running.test_composition import linear, quantized, rounded


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_multiplies_what_was_rounded(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    quantized(nn.Sequential(layer), ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=ag.Quantizer("e4m3")))
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autocast("cpu", dtype):
        y = layer(x)
    assert y.dtype == dtype
    expected = (rounded(x).to(dtype) @ rounded(layer.weight).to(dtype).t() + layer.bias.to(dtype)).detach()
    torch.testing.assert_close(y, expected, rtol=2e-2, atol=2e-2)
    y.float().sum().backward()
    assert x.grad.dtype == layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_gradient_penalty_is_that_of_the_straight_through_model(kind: str) -> None:
    """Through rounding every derivative is that of the identity, also the second one."""
    torch.manual_seed(0)
    first = nn.Linear(6, 5) if kind == "linear" else nn.Conv1d(3, 5, 1)
    model = nn.Sequential(first, nn.Tanh(), nn.Flatten(0), nn.Linear(5 if kind == "linear" else 10, 1))
    how = ag.Quantizer("e4m3")
    quantized(model, ag.Rule("*", weight=how, activation=how, gradient=how))
    x = torch.randn(6) if kind == "linear" else torch.randn(3, 2)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    slope.square().sum().backward()

    def straight(t: Tensor) -> Tensor:
        return t + (rounded(t) - t).detach()

    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, t: Tensor) -> Tensor:
            return t.view_as(t)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return straight(g)

    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    z = x.detach().clone().requires_grad_()
    w = straight(weights["0.weight"])
    if kind == "linear":
        hidden = Straight.apply(straight(z) @ w.t()) + weights["0.bias"]
    else:
        hidden = Straight.apply(nn.functional.conv1d(straight(z), w)) + weights["0.bias"][:, None]
    hidden = hidden.tanh().flatten()
    y = Straight.apply(straight(hidden) @ straight(weights["3.weight"]).t()) + weights["3.bias"]
    (expected,) = torch.autograd.grad(y.sum(), z, create_graph=True)
    expected.square().sum().backward()
    torch.testing.assert_close(slope, expected)
    for name, parameter in model.named_parameters():
        if weights[name].grad is not None:
            torch.testing.assert_close(parameter.grad, weights[name].grad, msg=name)


def test_functional_call_takes_the_weights_that_it_is_given() -> None:
    layer, plan = linear(4, weight=ag.Quantizer("e4m3"))
    other = torch.randn(4, 4)
    y = torch.func.functional_call(plan.model, {"0.weight": other}, torch.eye(4))
    assert torch.equal(y.t(), rounded(other))
    assert torch.equal(layer(torch.eye(4)), torch.eye(4))


def test_gradients_of_single_examples_by_vmap_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    how = ag.Quantizer("e4m3")
    quantized(model, ag.Rule("*", weight=how, activation=how, gradient=how))
    model.eval()
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, w, x).square().sum()

    x = torch.randn(7, 6)
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for index in range(7):
        alone = torch.func.grad(loss)(weights, x[index])
        for name in weights:
            torch.testing.assert_close(each[name][index], alone[name])


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_vmap_over_weights_gives_each_model_a_scale_of_its_own(kind: str) -> None:
    """As a loop over the models does, also within torch.compile."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5) if kind == "linear" else nn.Conv1d(3, 5, 2), nn.Tanh())
    how = ag.Quantizer("e4m3")
    quantized(model, ag.Rule("*", weight=how, activation=how, gradient=how))
    several = {name: torch.stack([p, 11 * p]) for name, p in model.named_parameters()}
    x = torch.randn(7, 6) if kind == "linear" else torch.randn(7, 3, 4)

    def loss(w: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, w, x).square().sum()

    each, losses = torch.func.vmap(torch.func.grad_and_value(loss))(several)
    compiled = torch.compile(lambda w: torch.func.vmap(loss)(w), backend="eager")(several)
    assert torch.equal(losses, compiled)
    for index in range(2):
        alone, value = torch.func.grad_and_value(loss)({name: w[index] for name, w in several.items()})
        assert torch.equal(losses[index], value)
        for name in several:
            torch.testing.assert_close(each[name][index], alone[name])


@pytest.mark.parametrize("straight_through", ["identity", "clipped"])
def test_forward_derivatives_are_those_of_the_straight_through_model(straight_through: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    how = ag.Quantizer("e2m1", scaling="none", straight_through=straight_through)
    quantized(model, ag.Rule("*", weight=how, activation=how))
    weights = {name: p.detach() for name, p in model.named_parameters()}
    x, along = 6 * torch.randn(4, 5), torch.randn(4, 5)
    tangents = {name: torch.randn_like(w) for name, w in weights.items()}

    def outputs(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, w, (x,))

    _, found = torch.func.jvp(outputs, (weights, x), (tangents, along))
    of_weights, of_x = torch.func.jacrev(outputs, (0, 1))(weights, x)
    expected = of_x.flatten(2) @ along.flatten()
    expected += sum(of_weights[name].flatten(2) @ tangents[name].flatten() for name in weights)
    torch.testing.assert_close(found, expected)

    def loss(x: Tensor) -> Tensor:
        return outputs(weights, x).square().sum()

    hessian = torch.func.hessian(loss)(x[0])
    torch.testing.assert_close(hessian, torch.func.jacrev(torch.func.jacrev(loss))(x[0]))
    assert hessian.any()


def test_clipped_gradients_are_zero_where_values_overflowed() -> None:
    how = ag.Quantizer("e4m3", scaling="none", straight_through="clipped")
    layer, _ = linear(2, activation=how, weight=how)
    x = torch.tensor([[500.0, 3.0]], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0]]

"""Quantized models under what training scripts do: each case against the same thing without it, or by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import altgrad_core as ag
from altgrad_core.running.model.plan import Plan

E4M3 = ag.load_format("e4m3")
NOISY = ag.Rule(
    "*",
    weight=ag.Quantizer("e4m3"),
    activation=ag.Quantizer("e4m3", rounding="stochastic", scaling="delayed"),
    gradient=ag.Quantizer("e5m2", rounding="stochastic"),
)


def quantized(model: nn.Module, rule: ag.Rule = NOISY) -> Plan:
    return ag.quantize_model(model, [rule])


def linear(width: int = 8, **quantizers: Any) -> tuple[nn.Linear, Plan]:
    """One layer without a bias whose weight is the identity."""
    layer = nn.Linear(width, width, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(width))
    return layer, ag.quantize_model(nn.Sequential(layer), [ag.Rule("*", **quantizers)])


def rounded(x: Tensor, format: ag.Format = E4M3) -> Tensor:
    return ag.fake_quantize(x, format, scaling="amax")


# ---- never a stale number ----


def test_inference_mode_gives_what_evaluation_gives() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    how = ag.Quantizer("e4m3")
    quantized(model, ag.Rule("*", weight=how, activation=how))
    x = torch.randn(4, 8)
    with torch.no_grad():
        expected = model.eval()(x)
    with torch.inference_mode():
        assert torch.equal(model(x), expected)
        assert torch.equal(model(x.clone()), expected)


def test_memory_that_is_changed_from_outside_is_rounded_anew() -> None:
    layer, _ = linear(2, activation=ag.Quantizer("e4m3", scaling="none"))
    memory = np.array([1.04, 2.1], dtype=np.float32)
    x = torch.from_numpy(memory)
    assert layer(x).tolist() == [1.0, 2.0]
    memory *= 4
    assert layer(x).tolist() == [4.0, 8.0]


@pytest.mark.parametrize("training", [True, False])
def test_a_weight_that_is_changed_behind_autograd_is_measured_anew(training: bool) -> None:
    layer, plan = linear(4, weight=ag.Quantizer("e4m3"))
    plan.model.train(training)
    layer(torch.ones(4))
    layer.weight.data.mul_(1000 / 3)
    assert torch.equal(layer(torch.eye(4)).t(), rounded(layer.weight.detach()))


# ---- steps without information ----


@pytest.mark.parametrize("empty", [torch.zeros(4, 4), torch.full((4, 4), torch.nan), torch.zeros(0, 4)])
@pytest.mark.parametrize("role", ["activation", "gradient"])
def test_a_step_without_information_leaves_no_entry(empty: Tensor, role: str) -> None:
    layer, plan = linear(4, **{role: ag.Quantizer("e4m3", scaling="delayed")})
    operand = plan.layers["0"][role]
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) * 1e-6
    for value in (empty, x):
        if role == "activation":
            got = layer(value)
        else:
            given = torch.ones(len(value), 4, requires_grad=True)
            layer(given).backward(value)
            got = given.grad
        history = operand.state_dict()["history"]
        plan.step()
        assert history == []
    assert torch.equal(got, rounded(x))
    assert operand.state_dict()["history"] == [float(x.abs().max())]


def test_low_rank_adapters_that_begin_at_zero_do_not_poison_the_history() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(8, 2, bias=False), "b": nn.Linear(2, 8, bias=False)})
    nn.init.zeros_(model["b"].weight)
    how = ag.Quantizer("e5m2", scaling="delayed")
    plan = quantized(model, ag.Rule("*", weight=ag.Quantizer("e4m3", scaling="delayed"), gradient=how))
    upstream = torch.randn(16, 8) * 1e-4
    for step in range(2):
        model.zero_grad()
        model["b"](model["a"](torch.ones(16, 8))).backward(upstream)
        if step == 0:
            assert plan.layers["a"]["gradient"].state_dict()["history"] == []
            with torch.no_grad():
                model["b"].weight.add_(model["b"].weight.grad)  # no longer zero, far below 1
            plan.step()
    assert int(plan.layers["a"]["gradient"].tally.underflow) == 0
    assert int(plan.layers["b"]["weight"].tally.underflow) == 0


# ---- loss scaling ----


def test_infinite_gradients_pass_a_gradient_quantizer() -> None:
    layer, _ = linear(2, gradient=ag.Quantizer("e5m2"))
    x = torch.ones(1, 2, requires_grad=True)
    layer(x).backward(torch.tensor([[torch.inf, 1.0]]))
    assert not x.grad.isfinite().all()


def test_infinite_gradients_saturate_where_the_recipe_says_so() -> None:
    layer, _ = linear(2, gradient=ag.Quantizer("e5m2", scaling="none", nonfinite="saturate"))
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    x = torch.ones(1, 2, requires_grad=True)
    layer(x).backward(torch.tensor([[torch.inf, 1.0]]))
    assert x.grad.tolist() == [[57344.0, 1.0]]


def test_a_loss_scaler_finds_the_infinity_and_lowers_its_scale() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4))
    plan = quantized(model, ag.Rule("*", gradient=ag.Quantizer("e5m2")))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    x, losses, scales = torch.randn(16, 4), [], []
    for _ in range(40):
        loss = 1000 * (model(x) - x).square().mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        plan.step()
        losses.append(float(loss.detach()))
        scales.append(scaler.get_scale())
    assert scales[0] < 2.0**127 and losses[-1] < losses[0]


# ---- noise: one stream a call ----


def test_calls_of_one_step_have_noise_of_their_own() -> None:
    layer, plan = linear(64, activation=ag.Quantizer("e2m1", rounding="stochastic"))
    x = torch.linspace(0.1, 1, 64)
    many = torch.stack([layer(x) for _ in range(400)])
    assert len(many.unique(dim=0)) == 400
    one = rounded(x, ag.load_format("e2m1")) - x
    assert float((many.detach().mean(0) - x).norm()) < 0.2 * float(one.norm())
    plan.step()
    again, _ = linear(64, activation=ag.Quantizer("e2m1", rounding="stochastic"))
    assert torch.equal(again(x), many[0])  # the first call of a step is as it was


class Twice(nn.Module):
    """One layer, called twice in each of two segments; one call repeats the input of another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def segment(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.layer(x) + self.layer(x.tanh())

    def forward(self, x: Tensor, kind: bool | None = None) -> Tensor:
        for _ in range(2):
            x = self.segment(x) if kind is None else checkpoint(self.segment, x, use_reentrant=kind)
        return x


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_repeats_the_noise_and_counts_once(use_reentrant: bool) -> None:
    torch.manual_seed(0)
    model = Twice()
    other = copy.deepcopy(model)
    plans = quantized(model), quantized(other)
    for _ in range(2):
        x = torch.randn(4, 8)
        gradients = []
        for module, kind in ((model, None), (other, use_reentrant)):
            given = x.clone().requires_grad_()
            module.zero_grad()
            module(given, kind).square().sum().backward()
            gradients.append([given.grad, *(p.grad.clone() for p in module.parameters())])
        for one, two in zip(*gradients, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
        tallies = [[o.tally for o in plan.operands()] for plan in plans]
        assert [t.elements for t in tallies[0]] == [t.elements for t in tallies[1]]
        for plan in plans:
            plan.step()
    assert plans[0].state_dict() == plans[1].state_dict()


# ---- autograd and torch.func ----

"""Freezing, averaging, adapters, meta tensors, switches and shared modules, each against a model built the plain way."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag

E4M3 = ag.Quantizer("e4m3")
ALL = ag.Rule("*", weight=E4M3, activation=E4M3, gradient=ag.Quantizer("e5m2"))
IDENTITY = ag.Rule("*", **dict.fromkeys(("weight", "activation", "gradient"), ag.Quantizer("fp32")))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("rule", [ALL, IDENTITY])
def test_layers_frozen_and_unfrozen_after_the_optimizer_was_built(rule: ag.Rule) -> None:
    plain = net()
    model = copy.deepcopy(plain)
    plan = ag.quantize_model(model, [rule])
    found = []
    for one, optimizer in ((model, ag.build_optimizer("adamw", plan.params(), lr=0.05, weight_decay=0.0)),
                           (plain, torch.optim.AdamW(plain.parameters(), lr=0.05, weight_decay=0.0))):  # fmt: skip
        if one is model:
            plan.attach(optimizer)
        losses = train(one, optimizer, 2)
        one[0].requires_grad_(False)
        frozen = one[0].weight.detach().clone()
        losses += train(one, optimizer, 3)
        assert torch.equal(one[0].weight, frozen)
        one[0].requires_grad_(True)
        found.append(losses + train(one, optimizer, 3))
        assert not torch.equal(one[0].weight, frozen)
    quantized, reference = found
    assert quantized == pytest.approx(reference, rel=1e-5 if rule is IDENTITY else 0.3)


def test_a_running_average_of_the_weights_is_quantized_as_a_model_with_these_weights() -> None:
    model = net()
    plan = ag.quantize_model(model, [ALL])
    optimizer = ag.build_optimizer("adamw", plan.params(), lr=0.05)
    plan.attach(optimizer)
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    for _ in range(4):
        train(model, optimizer, 1)
        averaged.update_parameters(model)
    fresh = net()
    fresh.load_state_dict({key.removeprefix("module."): v for key, v in averaged.state_dict().items() if "." in key})
    ag.quantize_model(fresh, [ALL])
    x = torch.randn(5, 4)
    assert torch.equal(averaged.eval()(x), fresh.eval()(x))


@pytest.mark.parametrize("scaling", ["amax", "delayed"])
def test_a_model_on_the_meta_device_is_quantized_and_filled_later(scaling: str) -> None:
    how = ag.Quantizer("e4m3", scaling=scaling)
    rule = ag.Rule("*", weight=how, activation=how, gradient=how)
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    plan = ag.quantize_model(model, [rule])
    model.to_empty(device="cpu")
    model.load_state_dict(net().state_dict())
    other = net()
    reference = ag.quantize_model(other, [rule])
    optimizers = [ag.build_optimizer("adamw", one.params(), lr=0.05) for one in (plan, reference)]
    plan.attach(optimizers[0])
    reference.attach(optimizers[1])
    assert train(model, optimizers[0], 4) == train(other, optimizers[1], 4)


@pytest.mark.parametrize("is_first", [True, False])
def test_adapters_of_peft_before_and_after(is_first: bool) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)
    model, rule = net(), ag.Rule("*0|*base_layer", weight=E4M3, activation=E4M3)
    if is_first:
        plan = ag.quantize_model(model, [rule])
    torch.manual_seed(5)
    adapted = peft.get_peft_model(model, config)
    if not is_first:
        plan = ag.quantize_model(adapted, [rule])
    base = adapted.base_model.model[0].base_layer
    before = base.weight.detach().clone()
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.05)
    plan.attach(optimizer)
    losses = train(adapted, optimizer, 8)
    assert losses[-1] < losses[0] and torch.equal(base.weight, before)
    x, q = torch.randn(3, 4), lambda t: ag.fake_quantize(t, ag.load_format("e4m3"), scaling="amax")
    torch.testing.assert_close(base(x), q(x) @ q(before).T + base.bias)


def test_a_switched_format_comes_back_with_the_plan() -> None:
    model = net()
    plan = ag.quantize_model(model, [ALL])
    x = torch.randn(5, 4)
    model(x)
    plan.switch("0", "weight", "e5m2")
    saved, expected = copy.deepcopy((model.state_dict(), plan.state_dict())), model.eval()(x)
    other = net()
    again = ag.quantize_model(other, [ALL])
    other.load_state_dict(saved[0])
    assert again.layers["0"]["weight"].format.name == "e4m3"  # a model of another format keeps its own
    again.load_state_dict(saved[1])
    assert again.layers["0"]["weight"].format.name == "e5m2"
    assert torch.equal(other.eval()(x), expected)


class Twice(nn.Module):
    """One layer at two paths, called under both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 4)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x).tanh())
        return y


def test_a_module_at_two_paths_counts_both_calls_and_rounds_its_weight_once() -> None:
    plain, x = Twice(), torch.randn(6, 4)
    for rule in (IDENTITY, ALL):
        model = copy.deepcopy(plain)
        plan = ag.quantize_model(model, [rule])
        model(x).square().sum().backward()
        assert list(plan.layers) == ["first"]
        if rule is IDENTITY:
            plain(x).square().sum().backward()
            torch.testing.assert_close(model.first.weight.grad, plain.first.weight.grad)
        else:
            tallies: Any = {role: operand.tally for role, operand in plan.layers["first"].items()}
            assert {role: t.elements for role, t in tallies.items()} == {"weight": 16, "activation": 48, "gradient": 48}


class Reads(nn.Module):
    """Computes with the weight of a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(nn.functional.linear(x, self.layer.weight))
        return y


def test_a_weight_that_other_code_reads_is_told() -> None:
    model = Reads()
    plan = ag.quantize_model(model, [ALL])
    found = plan.coverage(torch.ones(2, 4))
    assert found.multiply_adds == 0.5
    assert [(part.path, part.multiply_adds, part.why) for part in found.uncovered] == [
        ("", 32, "Reads computes products of its own, outside of layers")
    ]
    model(torch.ones(2, 4)).sum().backward()
    with pytest.warns(UserWarning, match="the first step did not round what the recipe lists: the weight of layer"):
        plan.step()


@pytest.mark.parametrize("name", ["adamw-stochastic", "manifold-adamw"])
def test_a_step_on_the_cpu_seeds_no_other_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` does, and queues a call with its stack for every kind that has not started: 2 ms a step."""
    model = net()
    plan = ag.quantize_model(model, [ALL])
    optimizer = ag.build_optimizer(name, plan.params(), lr=0.01)

    def refuse(seed: int) -> None:
        raise AssertionError("seeded every kind of device")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    train(model, optimizer, 2)

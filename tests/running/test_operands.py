"""What the operands of a quantized layer remember from pass to pass, and what they do not."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from altgrad_core import Quantizer, Rule, Scaling, load_format, quantize, quantize_model
from altgrad_core.numerics import straight_through
from altgrad_core.running.model.history import fetched
from altgrad_core.running.model.layout import Layout
from altgrad_core.running.model.plan import Plan


def weight_tallies(plan: Plan) -> list[int]:
    return [operand.tally.elements for operand in plan.operands() if operand.role == "weight" and operand.tally]


def test_a_weight_is_counted_once_a_step_however_many_micro_batches_use_it() -> None:
    model = nn.Sequential(nn.Linear(8, 4, bias=False))
    plan = quantize_model(model, [Rule("*", weight=Quantizer("e4m3", rounding="stochastic"))])
    x, outputs = torch.randn(3, 8), []
    for micro_batch in range(3):
        plan.moment.micro_batch = micro_batch
        outputs.append(model(x))
        outputs[-1].sum().backward()
    assert weight_tallies(plan) == [32]
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    plan.step()
    assert not torch.equal(model(x), outputs[0])  # another step, another stream


def test_a_weight_that_changed_within_a_step_is_rounded_anew() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    quantize_model(model, [Rule("*", weight=Quantizer("e4m3", scaling="none"))])
    with torch.no_grad():
        model[0].weight.fill_(1.04)
        assert model(torch.ones(1)).item() == 1.0
        model[0].weight.fill_(2.1)
        assert model(torch.ones(1)).item() == 2.0


def test_the_backward_pass_multiplies_with_the_weight_of_the_forward_pass() -> None:
    model = nn.Sequential(nn.Linear(64, 64, bias=False))
    plan = quantize_model(model, [Rule("*", weight=Quantizer("e4m3", rounding="stochastic"))])
    x = torch.eye(64, requires_grad=True)
    y = model(x)
    model.eval()(torch.ones(1, 64))  # an evaluation in between
    y.backward(torch.eye(64))
    assert torch.equal(x.grad, y.detach().t())  # both are the rounded weight
    assert weight_tallies(plan) == [64 * 64]


@pytest.mark.parametrize(
    "how",
    [
        Quantizer("e4m3"),
        Quantizer("e4m3", rounding="stochastic"),
        Quantizer("e4m3", scaling="none", straight_through="clipped"),
        Quantizer("e2m1", scaling=Scaling("amax", granularity="block:4")),
    ],
    ids=["nearest", "stochastic", "clipped", "blocks"],
)
def test_a_rounded_weight_that_is_kept_has_the_bits_of_one_that_is_rounded_again(
    how: Quantizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients(small: int) -> list[torch.Tensor]:
        monkeypatch.setattr(straight_through, "SMALL", small)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
        with torch.no_grad():
            model[0].weight.mul_(2000)  # some beyond the largest value
        plan, x = quantize_model(model, [Rule("*", weight=how)]), torch.randn(5, 8, requires_grad=True)
        for _ in range(2):
            first = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()], create_graph=True)
            first[0].square().sum().backward()
            plan.step()
        return [*first, x.grad, *(parameter.grad for parameter in model.parameters())]

    kept, again = gradients(1 << 16), gradients(0)
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


@pytest.mark.parametrize(("width", "roundings"), [(8, 1), (300, 2)])
def test_a_small_weight_is_rounded_once_for_both_passes_and_a_large_one_twice(
    width: int, roundings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, done, round_it = nn.Sequential(nn.Linear(width, width, bias=False)), [], Layout.quantized
    quantize_model(model, [Rule("*", weight=Quantizer("e4m3"))])
    monkeypatch.setattr(Layout, "quantized", lambda *given: done.append(given) or round_it(*given))
    model(torch.ones(2, width)).sum().backward()
    assert len(done) == roundings


def test_an_amax_that_was_fetched_is_not_taken_for_that_of_a_later_pass() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    plan = quantize_model(model, [Rule("*", activation=Quantizer("e4m3", scaling="delayed"))])
    model(torch.zeros(1, 2))
    assert fetched([torch.tensor(2.5), torch.tensor(7.0)], plan.operands()) == [2.5, 7.0]
    (operand,) = plan.operands()
    model(torch.full((1, 2), 3.0))  # of the same step
    plan.step()
    assert operand.state_dict()["history"] == [3.0]
    model(torch.zeros(1, 2))
    fetched([torch.tensor(1.0)], plan.operands())
    plan.step()
    assert operand.state_dict()["history"] == [3.0]  # nothing was seen
    assert fetched([torch.tensor(4.0)], plan.operands()) == [4.0]  # nor is there anything to fetch


def test_rows_and_blocks_of_a_weight_have_scales_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(64, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(4, 64) * torch.tensor([[1.0], [1e-3], [1e3], [1e-6]]))
    scaling = Scaling("amax", "mx-floor", granularity="block:32", scale_format="e8m0")
    plan = quantize_model(model, [Rule("*", weight=Quantizer("e2m1", scaling=scaling))])
    (operand,) = plan.operands()
    assert operand.scale.shape == (4, 2)
    weight = model[0].weight.detach()
    rounded = quantize(weight, Quantizer(load_format("e2m1"), scaling=scaling)).values
    assert torch.equal(model(torch.eye(64)).t(), rounded)
    geometry = plan.params()[0].geometry
    assert geometry is not None and geometry.scale.shape == (4, 64)
    assert torch.equal(geometry.value(geometry.rung(weight)), rounded.clamp(-6 * geometry.scale, 6 * geometry.scale))
    before = plan.state_dict()
    plan.load_state_dict(before)
    assert plan.state_dict() == before and torch.equal(plan.params()[0].geometry.scale, geometry.scale)


def test_a_quantized_model_can_be_copied_after_it_was_used() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    quantize_model(model, [Rule("*", weight=Quantizer("e4m3"))])
    x = torch.randn(2, 4)
    y = model(x)
    assert torch.equal(copy.deepcopy(model)(x), y)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), y)


class ThreeReaders(nn.Module):
    """q, k and v read one activation, each by a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8, bias=False) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q(x) + self.k(x) + self.v(x)


@pytest.mark.parametrize(("rounding", "times"), [("nearest-even", 1), ("stochastic", 3)])
@pytest.mark.parametrize("scaling", ["amax", "delayed"])
def test_an_activation_is_rounded_once_for_all_layers_that_read_it(
    rounding: str, times: int, scaling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = ThreeReaders()
    how = Quantizer("e4m3", rounding=rounding, scaling=scaling)
    plan = quantize_model(model, [Rule("*", activation=how, weight=Quantizer("e5m2"))])
    calls, place = [], "altgrad_core.running.model.layout.quantize"
    monkeypatch.setattr(place, lambda *args, **named: calls.append(1) or quantize(*args, **named))
    for _ in range(3):
        x = torch.randn(4, 8, requires_grad=True)
        model(x.tanh())
        plan.step()
    assert len(calls) == 3 * times + 3 * 3  # and each weight, once a step
    assert all(operand.tally.elements == 32 for operand in plan.operands() if operand.role == "activation")


def test_an_activation_that_changed_in_between_is_rounded_anew() -> None:
    model = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(2))
    quantize_model(model, [Rule("*", activation=Quantizer("e4m3", scaling="none"))])
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.eye(2))
        x = torch.tensor([1.04, 2.1])
        assert model[0](x).tolist() == [1.0, 2.0]
        x.mul_(4)
        assert model[1](x).tolist() == [4.0, 8.0]

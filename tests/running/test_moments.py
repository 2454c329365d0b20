"""What an optimizer keeps of a weight, in a format: against Adam by hand, resumed, refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag

E4M3 = ag.Quantizer("e4m3")
BLOCKS = ag.Quantizer("e4m3", scaling=ag.Scaling(granularity="block:8"))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))


def step(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(6, 16, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    module(x).square().mean().backward()
    optimizer.step()


def q(x: Tensor, how: ag.Quantizer) -> Tensor:
    return ag.quantize(x, ag.Quantizer(ag.load_format(how.format), scaling=how.scaling)).values  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "second"), [(E4M3, None), (E4M3, BLOCKS), (None, BLOCKS)])
def test_adamw_steps_with_the_moments_it_could_store(first: Any, second: Any) -> None:
    """By hand: both moments in full precision within the step, rounded after it; vectors keep theirs."""
    net = model()
    plan = ag.quantize_model(net, [ag.Rule("*", moment=first, second_moment=second)])
    optimizer = ag.build_optimizer("adamw", plan.params(), lr=0.1, weight_decay=0.0)
    plan.attach(optimizer)
    w, m, v = net[0].weight.detach().clone(), torch.zeros(8, 16), torch.zeros(8, 16)
    second = first if second is None else second
    for t in range(1, 5):
        step(net, optimizer, t)
        g = net[0].weight.grad
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        torch.testing.assert_close(net[0].weight.detach(), w, atol=1e-5, rtol=1e-4)
        state = optimizer.state[net[0].weight]
        if first is not None:
            m = state["exp_avg"].clone()
            assert torch.equal(q(m, first), m)
        v = state["exp_avg_sq"].clone()
        assert torch.equal(q(v, second), v)
    assert not torch.equal(q(optimizer.state[net[0].bias]["exp_avg"], E4M3), optimizer.state[net[0].bias]["exp_avg"])


def trained(steps: range, net: nn.Module, plan: ag.Plan, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    for number in steps:
        step(net, optimizer, number)
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("scaling", ["amax", "delayed"])
def test_noisy_moments_resume_bit_for_bit(scaling: str) -> None:
    rule = ag.Rule("*", weight=E4M3, moment=ag.Quantizer("e4m3", "stochastic", scaling=scaling))

    def fresh() -> tuple[nn.Module, ag.Plan, torch.optim.Optimizer]:
        net = model()
        plan = ag.quantize_model(net, [rule])
        optimizer = ag.build_optimizer("adamw", plan.params(), lr=0.01)
        plan.attach(optimizer)
        return net, plan, optimizer

    whole = trained(range(1, 9), *fresh())
    net, plan, optimizer = fresh()
    trained(range(1, 5), net, plan, optimizer)
    saved = copy.deepcopy((net.state_dict(), plan.state_dict(), optimizer.state_dict()))
    other = fresh()
    for part, state in zip(other, saved, strict=True):
        part.load_state_dict(state)  # type: ignore[arg-type]
    for one, again in zip(whole, trained(range(5, 9), *other), strict=True):
        assert torch.equal(one, again)


def test_noisy_moments_alone_resume_from_what_the_model_and_the_optimizer_saved() -> None:
    rule = ag.Rule("*", moment=ag.Quantizer("e4m3", "stochastic", scaling="delayed"))

    def fresh() -> tuple[nn.Module, ag.Plan, torch.optim.Optimizer]:
        net = model()
        plan = ag.quantize_model(net, [rule])
        optimizer = ag.build_optimizer("adamw", plan.params(), lr=0.01)
        plan.attach(optimizer)
        return net, plan, optimizer

    whole = trained(range(1, 9), *fresh())
    net, plan, optimizer = fresh()
    trained(range(1, 5), net, plan, optimizer)
    saved = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
    net, plan, optimizer = fresh()
    net.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    for one, again in zip(whole, trained(range(5, 9), net, plan, optimizer), strict=True):
        assert torch.equal(one, again)


def test_stochastic_moments_move_where_nearest_ones_stand_still() -> None:
    """0.999 v + 0.001 g^2 is less than half a step of e4m3 from v, so that v never changes to nearest."""
    found = {}
    for rounding in ("nearest-even", "stochastic"):
        torch.manual_seed(0)
        net = nn.Linear(64, 64, bias=False)
        plan = ag.quantize_model(net, [ag.Rule("*", second_moment=ag.Quantizer("e4m3", rounding))])
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.0, betas=(0.9, 0.999))
        plan.attach(optimizer)
        for number in range(60):
            net.weight.grad = torch.full((64, 64), 1.0 if number == 0 else 3.0)
            optimizer.step()
        found[rounding] = optimizer.state[net.weight]["exp_avg_sq"].mean().item()
    exact = 0.001 * 0.999**59 + 9 * (1 - 0.999**59)
    assert found["nearest-even"] < 0.6 * exact
    assert found["stochastic"] == pytest.approx(exact, rel=0.05)


def test_momentum_is_a_moment_and_monitors_see_it() -> None:
    net = model()
    plan = ag.quantize_model(net, [ag.Rule("0", moment=ag.Quantizer("e5m2"))])
    optimizer = ag.build_optimizer("sgd", plan.params())
    plan.attach(optimizer)
    step(net, optimizer, 1)
    buffer = optimizer.state[net[0].weight]["momentum_buffer"]
    assert torch.equal(q(buffer, ag.Quantizer("e5m2")), buffer)
    tally = plan.layers["0"]["moment"].tally
    assert tally is not None and tally.elements == 128 and isinstance(net[0], nn.Linear)


def test_an_optimizer_without_moments_is_an_error() -> None:
    net = model()
    plan = ag.quantize_model(net, [ag.Rule("0", moment=E4M3)])
    optimizer = torch.optim.Adagrad(net.parameters())
    plan.attach(optimizer)
    with pytest.raises(ag.ManifestError) as caught:
        step(net, optimizer, 1)
    assert str(caught.value) == (
        "the recipe quantizes the moment and second_moment of 0, which optimizers keep as exp_avg or momentum_buffer or "
        "exp_avg_sq or square_avg or max_exp_avg_sq; Adagrad keeps step, sum"
    )


def test_an_optimizer_without_any_state_is_an_error() -> None:
    net = model()
    plan = ag.quantize_model(net, [ag.Rule("0", moment=E4M3)])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    plan.attach(optimizer)
    with pytest.raises(ag.ManifestError, match=r"SGD keeps nothing$"):
        step(net, optimizer, 1)


def test_moments_without_an_optimizer_are_warned_of_once() -> None:
    net = model()
    plan = ag.quantize_model(net, [ag.Rule("0", moment=E4M3)])
    optimizer = ag.build_optimizer("adamw", plan.params())
    step(net, optimizer, 1)
    with pytest.warns(UserWarning) as caught:
        plan.step()
        plan.step()
    assert [str(w.message) for w in caught] == [
        "the step rounded no moments, though the recipe lists the moment of 0, the second_moment of 0: "
        "call plan.attach(optimizer) once"
    ]


def test_a_second_moment_that_an_optimizer_lacks_is_warned_of() -> None:
    net = model()
    plan = ag.quantize_model(net, [ag.Rule("0", moment=E4M3, second_moment=ag.Quantizer("e5m2"))])
    optimizer = ag.build_optimizer("sgd", plan.params())
    plan.attach(optimizer)
    with pytest.warns(UserWarning, match="keeps no second moment, though the recipe lists the second_moment of 0"):
        step(net, optimizer, 1)


def test_layers_that_share_a_weight_must_agree() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    plan = ag.quantize_model(net, [ag.Rule("0", moment=E4M3), ag.Rule("1", moment=ag.Quantizer("e5m2"))])
    optimizer = ag.build_optimizer("adamw", plan.params())
    plan.attach(optimizer)
    net(torch.ones(1, 4)).sum().backward()
    with pytest.raises(ag.ManifestError, match="0 and 1 share one weight, but their rules quantize its moments differ"):
        optimizer.step()


def test_a_weight_that_is_computed_has_no_moments() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(ag.ManifestError, match=r"has weight, activation, gradient, [^.]*gradient_for_weight_gradient$"):
        ag.quantize_model(net, [ag.Rule("*", moment=E4M3)])


def test_frozen_layers_keep_none() -> None:
    net = model()
    net[0].requires_grad_(False)
    plan = ag.quantize_model(net, [ag.Rule("*", moment=E4M3)])
    optimizer = ag.build_optimizer("adamw", plan.params())
    plan.attach(optimizer)
    step(net, optimizer, 1)
    assert [o.path for o in plan.operands() if o.is_used] == ["2", "2"]

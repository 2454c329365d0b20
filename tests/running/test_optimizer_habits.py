"""What training scripts do with optimizers: copies, pickles, further groups, schedules."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import altgrad_core as ag
from altgrad_core.registry.registry import installed

HOWS: dict[str, Callable[[Any], Any]] = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}
OPTIMIZERS = [
    name
    for name in installed().names("optimizer")
    if installed().entry("optimizer", name).plugin.distribution == "altgrad"
]


def begun(name: str, **options: Any) -> tuple[nn.Module, torch.optim.Optimizer, ag.Plan]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    optimizer = ag.build_optimizer(name, plan.params(), **options)
    plan.attach(optimizer)
    return model, optimizer, plan


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    torch.manual_seed(1)
    optimizer.zero_grad()
    (model(torch.ones(3, 4)) - 1).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_copy_of_model_optimizer_and_plan_trains_on_like_the_original(name: str, how: str) -> None:
    model, optimizer, plan = begun(name)
    step(model, optimizer)
    copied, its, their_plan = HOWS[how]((model, optimizer, plan))
    their_plan.attach(its)  # hooks stay with the original, as torch has it
    for _ in range(2):
        step(model, optimizer)
        step(copied, its)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copied.parameters(), strict=True))
    assert their_plan.state_dict() == plan.state_dict()


@pytest.mark.parametrize("how", HOWS)
def test_a_chain_of_optimizers_is_copied_whole(how: str) -> None:
    model, optimizer, plan = begun("manifold-adamw", groups=[{"layers": "2", "use": "adamw", "lr": 0.01}])
    step(model, optimizer)
    copied, its, _ = HOWS[how]((model, optimizer, plan))
    step(model, optimizer)
    step(copied, its)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copied.parameters(), strict=True))


@pytest.mark.parametrize("is_chain", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_that_is_added_later_is_trained(name: str, is_chain: bool) -> None:
    groups = [{"layers": "2", "use": "manifold-adamw", "lr": 0.1}] if is_chain else []
    _, optimizer, _ = begun(name, groups=groups)
    late = [nn.Parameter(torch.ones(4)), nn.Parameter(torch.full((4, 4), 0.3))]
    before = [p.detach().clone() for p in late]
    optimizer.add_param_group({"params": late})
    for _ in range(3):
        for parameter in late:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert not any(torch.equal(now, then) for now, then in zip(late, before, strict=True))
    assert any(late[0] is p for group in optimizer.param_groups for p in group["params"])


def test_a_later_group_without_a_grid_takes_the_settings_of_the_plain_one() -> None:
    _, optimizer, plan = begun("manifold-adamw", lr=0.25, plain_lr=0.003)
    late = nn.Parameter(torch.zeros(4))
    optimizer.add_param_group({"params": [late], "betas": (0.5, 0.9)})
    late.grad = torch.ones(4)
    optimizer.step()
    group = optimizer.param_groups[-1]
    assert (group["plain"], group["lr"], group["initial_lr"], group["betas"]) == (True, 0.003, 0.003, (0.5, 0.9))
    torch.testing.assert_close(late.detach(), torch.full((4,), -0.003))  # the first step of Adam is its rate
    with pytest.raises(ValueError, match="1 of 2 parameters have no grid; put these into a group of their own"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1)), add_again(optimizer)]})
    alone = ag.build_optimizer("manifold-adamw", [p for p in plan.params() if p.geometry is not None])
    with pytest.raises(ValueError, match="these parameters have no grid and take AdamW"):
        alone.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert len(alone.param_groups) == 1


def add_again(optimizer: torch.optim.Optimizer) -> Any:
    """A parameter with a grid, taken out of the optimizer."""
    return optimizer.param_groups.pop(0)["params"][0]


def test_an_optimizer_of_another_plan_is_refused() -> None:
    model, optimizer, plan = begun("manifold-adamw")
    plan.remove()
    again = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e5m2"))])
    with pytest.raises(ag.ManifestError, match="attach: the optimizer was built for another plan"):
        again.attach(optimizer)


@pytest.mark.parametrize("name", ["adamw", "manifold-adamw"])
def test_a_schedule_of_torch_sets_the_rates(name: str) -> None:
    model, optimizer, plan = begun(name)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    first = [group["lr"] for group in optimizer.param_groups]
    for _ in range(2):
        step(model, optimizer)
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.25 * lr for lr in first]
    assert plan.moment.step == 2


def test_random_numbers_go_on_where_the_plan_does_not_step_and_repeat_from_a_saved_state() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    optimizer, draws, saved = ag.build_optimizer("adamw-stochastic", plan.params()), list[float](), plan.state_dict()
    optimizer.register_step_pre_hook(lambda *_: draws.append(float(torch.rand(()))))
    step(model, optimizer)
    step(model, optimizer)
    plan.load_state_dict(saved)
    step(model, optimizer)
    assert draws[0] != draws[1] and draws[0] == draws[2]


def test_an_optimizer_of_another_model_is_warned_of() -> None:
    plan = ag.quantize_model(nn.Sequential(nn.Linear(2, 2)), [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    with pytest.warns(
        UserWarning, match="attach: this SGD holds no parameter of the model; if it does not train copies"
    ):
        plan.attach(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1))

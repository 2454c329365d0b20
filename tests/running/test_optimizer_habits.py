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


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("is_chain", [False, True])
def test_a_group_that_is_added_later_is_trained(name: str, is_chain: bool) -> None:
    groups = [{"layers": "2", "use": "manifold-adamw", "lr": 0.1}] if is_chain else []
    _, optimizer, _ = begun(name, groups=groups)
    late = nn.Parameter(torch.ones(4))
    optimizer.add_param_group({"params": [late]})
    late.grad = torch.ones(4)
    optimizer.step()
    assert not torch.equal(late, torch.ones(4))
    assert any(late is p for group in optimizer.param_groups for p in group["params"])


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

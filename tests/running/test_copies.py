"""Copies of a quantized model that nobody tells of a step: averages, teachers, and copies that are trained by mistake."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import altgrad_core as ag

DELAYED = ag.Quantizer("e4m3", scaling="delayed")
RULE = ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=DELAYED)
X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


def net() -> tuple[nn.Module, ag.Plan, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    plan = ag.quantize_model(model, [RULE])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    plan.attach(optimizer)
    return model, plan, optimizer


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, then: Callable[[], None] = lambda: None
) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (model(X) - 300 * X.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
        then()


def freshly_quantized(weights: dict[str, Tensor]) -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    model.load_state_dict(dict(weights))
    ag.quantize_model(model, [RULE])
    return model.eval()


@pytest.mark.parametrize("begun", [0, 5])
def test_an_average_that_began_later_has_the_scales_of_its_batches_and_not_of_its_beginning(begun: int) -> None:
    model, _, optimizer = net()
    train(model, optimizer, begun)
    average = AveragedModel(model, avg_fn=lambda old, new, _: 0.5 * old + 0.5 * new)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, optimizer, 60, lambda: average.update_parameters(model))
        said = average.eval()(X)
    weights = dict(average.module.state_dict().items())
    assert torch.equal(said, freshly_quantized(weights)(X))


def by_torch(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), by_torch])
@pytest.mark.parametrize("before", [lambda m: m, lambda m: m.double().float(), lambda m: m.requires_grad_(False)])
def test_a_copy_with_the_same_weights_keeps_its_histories(
    copied: Callable[[nn.Module], nn.Module], before: Callable[[nn.Module], nn.Module]
) -> None:
    model, _, optimizer = net()
    train(model, optimizer, 5)
    snapshot = before(copied(model))
    said = model.eval()(100 * X)
    assert torch.equal(snapshot.eval()(100 * X), said)
    train(model.train(), optimizer, 3)
    assert torch.equal(snapshot(100 * X), said)  # and those of its own time


def test_a_copy_that_is_trained_and_not_attached_is_told_of_once() -> None:
    model, plan, optimizer = net()
    train(model, optimizer, 3)
    other, unattached, steps = copy.deepcopy((model, plan, optimizer))
    with pytest.warns(
        UserWarning, match="the weights of 0 changed in a copy of a quantized model, and no step of the copy"
    ) as told:
        train(other, steps, 10)
    assert len(told) == 1
    assert unattached.state_dict()["step"] == 3


def test_a_copy_that_is_attached_goes_on_as_the_original_does_with_no_word() -> None:
    model, plan, optimizer = net()
    train(model, optimizer, 3)
    other, its_plan, steps = copy.deepcopy((model, plan, optimizer))
    its_plan.attach(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(other, steps, 5)
        train(model, optimizer, 5)
    assert its_plan.state_dict() == plan.state_dict()
    assert torch.equal(other.eval()(X), model.eval()(X))


def test_an_optimizer_that_is_attached_twice_counts_a_step_once() -> None:
    model, plan, optimizer = net()
    plan.attach(optimizer)
    train(model, optimizer, 5)
    once, its_plan, steps = net()
    train(once, steps, 5)
    assert plan.state_dict() == its_plan.state_dict()
    assert torch.equal(model(X), once(X))


def test_of_two_optimizers_that_are_attached_the_last_one_counts_and_both_round_their_moments() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=DELAYED, moment=ag.Quantizer("e4m3"))])
    both = [torch.optim.Adam(model[index].parameters(), lr=0.01) for index in (0, 2)]
    for optimizer in both:
        plan.attach(optimizer)
    for _ in range(4):
        model(X).square().mean().backward()
        for optimizer in both:
            optimizer.step()
    assert plan.state_dict()["step"] == 4
    for index, optimizer in zip((0, 2), both, strict=True):
        moment = optimizer.state[model[index].weight]["exp_avg"]
        assert torch.equal(ag.fake_quantize(moment, ag.load_format("e4m3"), scaling="amax"), moment)

"""Where the state of a plan goes by itself, and what is said when it is forgotten."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import altgrad_core as ag

DELAYED = ag.Rule(
    "*",
    weight=ag.Quantizer("e4m3", scaling=ag.Scaling(granularity="block:4")),
    activation=ag.Quantizer("e4m3", scaling="delayed"),
    gradient=ag.Quantizer("e5m2", scaling="delayed"),
)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))


def train(model: nn.Module, optimizer: Any, steps: int, *, after: Any = lambda: None) -> list[float]:
    losses = []
    for step in range(steps):
        x = torch.randn(4, 8, generator=torch.Generator().manual_seed(step)) * (step + 1)
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
        losses.append(loss.item())
    return losses


def saved_and_loaded(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_scales_and_histories_travel_in_the_state_of_the_model() -> None:
    model = network()
    plan = ag.quantize_model(model, [DELAYED])
    plan.attach(optimizer := torch.optim.SGD(model.parameters(), lr=0.1))
    train(model, optimizer, 3)
    other = network()
    theirs = ag.quantize_model(other, [DELAYED])
    other.load_state_dict(saved_and_loaded(model.state_dict()), strict=True)
    assert theirs.state_dict() == plan.state_dict() and theirs.moment.step == 3
    x = torch.randn(4, 8)
    assert torch.equal(other(x), model(x))


def test_plain_and_quantized_models_load_each_other_strictly() -> None:
    plain, quantized = network(), network()
    ag.quantize_model(quantized, [DELAYED])
    plain.load_state_dict(saved_and_loaded(quantized.state_dict()), strict=True)
    quantized.load_state_dict(saved_and_loaded(plain.state_dict()), strict=True)
    assert list(plain.state_dict()) == list(quantized.state_dict())


def test_a_model_in_another_format_takes_only_the_histories() -> None:
    model, other = network(), network()
    plan = ag.quantize_model(model, [DELAYED])
    plan.attach(optimizer := torch.optim.SGD(model.parameters(), lr=0.1))
    train(model, optimizer, 2)
    theirs = ag.quantize_model(other, [ag.Rule("*", activation=ag.Quantizer("e5m2", scaling="delayed"))])
    other.load_state_dict(model.state_dict())
    mine, taken = plan.layers["0"]["activation"].state_dict(), theirs.layers["0"]["activation"].state_dict()
    assert taken["history"] == mine["history"] and taken["format"] != mine["format"]


def test_an_attached_optimizer_ends_the_steps_of_the_plan() -> None:
    one, two = network(), network()
    plans = [ag.quantize_model(model, [DELAYED]) for model in (one, two)]
    optimizers = [ag.build_optimizer("adamw", plan.params(), lr=0.01) for plan in plans]
    plans[0].attach(optimizers[0])
    losses = train(one, optimizers[0], 4), train(two, optimizers[1], 4, after=plans[1].step)
    assert losses[0] == losses[1] and plans[0].state_dict() == plans[1].state_dict()


def test_a_forgotten_step_is_said_once() -> None:
    model = network()
    ag.quantize_model(model, [DELAYED])
    with pytest.warns(UserWarning) as caught:
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), 12)
    assert [str(warning.message) for warning in caught] == [
        "the weight of 0 changed 3 times, and plan.step() was not called: call it after every optimizer.step(), or "
        "plan.attach(optimizer) once. Until then delayed scaling keeps no history and noise repeats."
    ]


def _trained_by_lbfgs(model: nn.Module, plan: Any) -> None:
    plan.attach(optimizer := torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=6))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(2, 8)).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)  # which changes the weights six times


def _averaged(model: nn.Module, plan: Any) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(6):
        train(model, optimizer, 1, after=plan.step)
        averaged.update_parameters(model)
        averaged(torch.ones(2, 8))


@pytest.mark.parametrize("use", [_trained_by_lbfgs, _averaged])
def test_no_step_is_missed_where_none_is_forgotten(use: Callable[..., None]) -> None:
    model = network()
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use(model, plan)


def test_operands_that_the_first_step_did_not_round_are_said_once() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.used(x), self.idle.weight)

    model = Unused()
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"), gradient=ag.Quantizer("e5m2"))])
    with pytest.warns(UserWarning) as caught:
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), 3, after=plan.step)
    assert [str(warning.message) for warning in caught] == [
        "the first step did not round what the recipe lists: the weight of idle, the gradient of idle; their layers are "
        "not called in training"
    ]
    assert caught[0].filename == __file__, "where step is called"


def test_an_ordinary_loop_says_nothing() -> None:
    model = network()
    plan = ag.quantize_model(model, [DELAYED])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), 6, after=plan.step)

"""A step of a program that trains as a CUDA graph would have it: no wait for the device, and replayed without Python."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode

import altgrad_core as ag

pytest.importorskip("triton")

from altgrad_core.running.model.training_program import TrainingState
from altgrad_core.testing.launches import Launch, counted
from tests.running.recording import Recording, kernels_here

MICRO_BATCHES, BEGUN = 2, 8
DELAYED = ag.Quantizer("e4m3", scaling="delayed")
OPTIONS: dict[str, Any] = {
    "lr": 0.1,
    "walk": "linear",
    "fused": True,
}  # no walk: that of the CPU may have other last bits
BY_CHANCE = ag.Quantizer("e5m2", "stochastic", ag.Scaling("delayed", history=2))


def planned(layers: int, activation: ag.Quantizer) -> ag.Plan:
    """A model after some steps in which nothing was rounded."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
    rule = ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=activation, gradient=BY_CHANCE)
    plan = ag.quantize_model(model, [rule], seed=3)
    for _ in range(BEGUN):
        plan.step()
    return plan


def inputs(step: int) -> Tensor:
    return 10.0**-step * torch.randn(MICRO_BATCHES, 3, 4, generator=torch.Generator().manual_seed(step))


def a_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor, end: Callable[[], None]) -> list[Tensor]:
    """The loss of every micro-batch of one step."""
    losses = []
    for x in batch:
        loss = model(x).square().mean()
        loss.backward()
        losses.append(loss.detach())
    optimizer.step()
    optimizer.zero_grad()
    end()
    return losses


def what(one: Launch) -> Any:
    """All of a launch but the numbers in its tensors."""
    arguments = [(a.shape, a.dtype) if isinstance(a, Tensor) else a for a in one.arguments]
    return one.kernel, one.programs, arguments, one.constants


def test_a_step_waits_for_nothing_and_every_step_launches_the_same() -> None:
    module = ag.training_program(planned(2, BY_CHANCE), inputs(0)[0]).module().to("meta")
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    logs = []
    for step in range(3):
        x = inputs(step).to("meta")
        with counted() as log:
            a_step(module, optimizer, x, lambda: ag.step_program(module))
        logs.append(log)
        assert not log.waits, log.waits
    kernels = [[what(one) for one in log.kernels] for log in logs]
    assert kernels[0] == kernels[1] == kernels[2] and len(kernels[0]) > 30
    assert logs[1].operations == logs[2].operations


def test_the_number_of_the_step_is_on_the_device_of_the_other_buffers() -> None:
    plan = planned(1, DELAYED)
    for operand in plan.operands():
        operand.scale = operand.scale.to("meta")
    with counted():
        state = TrainingState({operand.role: operand for operand in plan.operands()}, plan.moment)
    assert {buffer.device.type for buffer in state.buffers()} == {"meta"}


@pytest.mark.parametrize(
    ("layers", "activation", "steps"), [(1, DELAYED, 3), pytest.param(2, BY_CHANCE, 12, marks=pytest.mark.slow)]
)
def test_a_recorded_step_trains_as_the_model_does_when_it_is_replayed(
    layers: int, activation: ag.Quantizer, steps: int
) -> None:
    plan = planned(layers, activation)
    other = copy.deepcopy(plan)
    module = ag.training_program(plan, inputs(0)[0]).module()
    optimizer = ag.build_optimizer("manifold-adamw", plan.params(module), **OPTIONS)
    recording, batch = Recording(), inputs(0)
    with kernels_here():
        first = a_step(module, optimizer, batch, lambda: ag.step_program(module))  # the state of the optimizer begins
        batch.copy_(inputs(1))
        with recording.started(), recording:
            losses = a_step(module, optimizer, batch, lambda: ag.step_program(module))
        of_program = [[loss.item() for loss in step] for step in (first, losses)]
        for step in range(2, steps):
            batch.copy_(inputs(step))
            recording.replay()
            of_program.append([loss.item() for loss in losses])
    theirs = ag.build_optimizer("manifold-adamw", other.params(), **OPTIONS)
    of_model = [
        [loss.item() for loss in a_step(other.model, theirs, inputs(step), other.step)] for step in range(steps)
    ]
    assert of_program == of_model
    for name, weight in other.model.named_parameters():
        assert torch.equal(module.state_dict()[f"model.{name}"], weight)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_program_is_one_graph_of_torch_compile_for_fifty_steps(backend: str) -> None:
    torch._dynamo.reset()
    counters.clear()
    plan = planned(1, DELAYED)
    other = copy.deepcopy(plan)
    module = ag.training_program(plan, inputs(0)[0]).module()
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    optimizers = [ag.build_optimizer("manifold-adamw", params) for params in (plan.params(module), other.params())]
    for step in range(50):
        losses = a_step(compiled, optimizers[0], inputs(step % 3), lambda: ag.step_program(module))
        assert losses == a_step(other.model, optimizers[1], inputs(step % 3), other.step)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


def test_what_a_replay_would_repeat_is_refused_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    (activation,) = (operand for operand in planned(1, DELAYED).operands() if operand.role == "activation")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with FakeTensorMode(), pytest.raises(ag.RunError) as refused:
        activation.rounded(torch.empty(3, 4, device="cuda"), training=True)
    assert str(refused.value) == (
        "the activation of 0 is captured in a CUDA graph, which would repeat its random numbers and its delayed scale at every "
        "replay; capture the module of training_program(plan, ...), which keeps both in tensors"
    )

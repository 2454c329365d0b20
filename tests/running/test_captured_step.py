"""A step of a program that trains as a CUDA graph would have it: no wait for the device, and replayed without Python."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

import altgrad_core as ag
from altgrad_core.numerics import backends

pytest.importorskip("triton")
from torch._library.custom_ops import OPDEFS

from altgrad_core.numerics.backends import triton
from altgrad_core.numerics.triton import launch, run
from altgrad_core.testing.launches import Launch, counted

MICRO_BATCHES, BEGUN = 2, 8
DELAYED = ag.Quantizer("e4m3", scaling="delayed")
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
        with counted() as log:
            a_step(module, optimizer, inputs(step).to("meta"), lambda: ag.step_program(module))
        logs.append(log)
        assert not log.waits, log.waits
    kernels = [[what(one) for one in log.kernels] for log in logs]
    assert kernels[0] == kernels[1] == kernels[2] and len(kernels[0]) > 30
    assert logs[1].operations == logs[2].operations


class Recording(TorchDispatchMode):
    """Runs and writes down operations of torch, with their tensors; `replay` runs them again and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "altgrad":
            with self:
                return OPDEFS[func.name()]._init_fn(*args, **(kwargs or {}))
        assert func.name() not in ("aten::item", "aten::_local_scalar_dense"), "a number is read"
        call = partial(func, *args, **(kwargs or {}))
        result = call()
        if func._schema.is_mutable:
            self._steps.append(call)
        elif func.namespace == "aten" and not any(returned.alias_info for returned in func._schema.returns):
            self._steps.append(partial(_again, call, result))
        return result

    def start(self, really: Callable[..., None], *launched: Any) -> None:
        """Instead of `launch.start`."""
        with _disable_current_modes():
            really(*launched)
        self._steps.append(partial(really, *launched))

    @torch.no_grad()
    def replay(self) -> None:
        for step in self._steps:
            step()


def _again(call: Callable[[], object], before: object) -> None:
    for old, new in zip(tree_leaves(before), tree_leaves(call()), strict=True):
        old.copy_(new)


@contextmanager
def kernels_here() -> Iterator[None]:
    """The kernels for CUDA, run by the interpreter on the CPU, where no scale is looked at to choose one."""
    is_power_of_two = run._is_power_of_two
    with (
        mock.patch.object(triton, "DEVICE", "cpu"),
        mock.patch.object(run, "_is_power_of_two", lambda scale, how: scale is None and is_power_of_two(None, how)),
        mock.patch.object(backends, "ORDER", ("triton", "reference")),
    ):
        backends._chosen.cache_clear()
        yield
    backends._chosen.cache_clear()


@pytest.mark.parametrize(
    ("layers", "activation", "steps"), [(1, DELAYED, 3), pytest.param(2, BY_CHANCE, 12, marks=pytest.mark.slow)]
)
def test_a_recorded_step_trains_as_the_model_does_when_it_is_replayed(
    layers: int, activation: ag.Quantizer, steps: int
) -> None:
    plan = planned(layers, activation)
    other = copy.deepcopy(plan)
    module = ag.training_program(plan, inputs(0)[0]).module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    recording, batch = Recording(), inputs(0)
    with kernels_here():
        with mock.patch.object(launch, "start", partial(recording.start, launch.start)), recording:
            losses = a_step(module, optimizer, batch, lambda: ag.step_program(module))
        of_program = [[loss.item() for loss in losses]]
        for step in range(1, steps):
            batch.copy_(inputs(step))
            recording.replay()
            of_program.append([loss.item() for loss in losses])
    theirs = torch.optim.SGD(other.model.parameters(), lr=0.1)
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
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (module, other.model)]
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

"""Every installed optimizer in a CUDA graph: no wait for the device, nothing that Python changes, and steps replayed without it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag
from altgrad_core.numerics.random import derive_key
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.environment import seed_generator

pytest.importorskip("triton")
from altgrad_core.testing.launches import counted
from tests.running.recording import Recording, kernels_here
from tests.running.test_captured_step import what

SEED, STEPS, WARM = 3, 3, 2
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "manifold-adamw": (
        {"precondition": "gradient"},
        {"walk": "linear", "moments": "carried"},
        {"bit_position": True, "floor": 3},
    ),
    "grid": ({"master": "none"}, {"normalize": "rms", "bit_position": True}),
    "adamw-stochastic": ({"rounding": "nearest-even"},),
}
CASES = [(name, options) for name in installed().names("optimizer") for options in ({}, *VARIANTS.get(name, ()))]
OF_TORCH = ("adamw", "sgd")
LAST_BITS = ("grid", "manifold-adamw")
"""Those whose kernels for CUDA may give other last bits than the CPU's."""


def planned(device: str) -> ag.Plan:
    """Two layers with biases."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, device=device), nn.Linear(6, 4, device=device))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))], seed=SEED)
    for operand in plan.operands():
        operand.scale = operand.scale.to(device)  # a weight without numbers left it on the CPU
    return plan


@contextmanager
def capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """What torch's optimizers need to be told; here they also take the device that stands for CUDA."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    with mock.patch("torch.optim.adam._get_capturable_supported_devices", lambda **_: ["meta"]):
        yield


def rates_as_tensors(optimizer: torch.optim.Optimizer, device: str) -> list[Tensor]:
    """The rates of AltGrad's own steps, as tensors that a schedule can fill between replays."""
    groups = [group for group in optimizer.param_groups if group.get("plain") is False]
    for group in groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float64, device=device)
    return [group["lr"] for group in groups]


def state_of(optimizer: torch.optim.Optimizer) -> list[Any]:
    """Which tensors the state has, and all else in it."""
    leaves = torch.utils._pytree.tree_leaves(list(optimizer.state.values()))
    return [id(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_step_waits_for_nothing_and_changes_nothing_but_tensors(name: str, options: dict[str, Any]) -> None:
    plan = planned("meta")
    optimizer = ag.build_optimizer(name, plan.params(), **options)
    if "precondition" not in options:  # a control, which takes torch's step: its rate has no fake kernel
        rates_as_tensors(optimizer, "meta")
    logs, states = [], []
    with capturable(optimizer):
        for _ in range(WARM + 2):
            for parameter in plan.model.parameters():
                parameter.grad = torch.empty_like(parameter)
            with counted() as log:
                optimizer.step()
            logs.append(log)
            states.append(state_of(optimizer))
            assert not log.waits, log.waits
    assert logs[-2].operations == logs[-1].operations
    assert list(map(what, logs[-2].kernels)) == list(map(what, logs[-1].kernels))
    assert states[-2] == states[-1]


def train(optimizer: torch.optim.Optimizer, plan: ag.Plan, step: int) -> None:
    """Put gradients of a step in place."""
    generator = torch.Generator().manual_seed(step)
    for parameter in plan.model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.copy_(gradient)


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case[0] not in OF_TORCH], ids=str)
def test_replayed_steps_are_those_of_the_cpu(name: str, options: dict[str, Any]) -> None:
    plan = planned("cpu")
    other = copy.deepcopy(plan)
    mine, its = (ag.build_optimizer(name, one.params(), **options) for one in (plan, other))
    first = [group["lr"] for group in its.param_groups if not group.get("plain")]
    recording, rates = Recording(), rates_as_tensors(mine, "cpu")
    with kernels_here():
        train(mine, plan, 0)
        mine.step()  # as before a capture: its state begins
        plan.step()
        train(mine, plan, 1)
        with recording.started(), recording:
            mine.step()
        for step in range(2, STEPS + 1):
            for rate, begun in zip(rates, first, strict=True):
                rate.fill_(begun / step)
            train(mine, plan, step)
            seed_generator(torch.device("cpu"), derive_key(SEED, "optimizer", step))
            recording.replay()
    for step in range(STEPS + 1):
        for group, begun in zip([group for group in its.param_groups if not group.get("plain")], first, strict=True):
            group["lr"] = begun / max(1, step)
        train(its, other, step)
        its.step()
        other.step()
    for weight, expected in zip(plan.model.parameters(), other.model.parameters(), strict=True):
        if name in LAST_BITS:
            torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(weight, expected)

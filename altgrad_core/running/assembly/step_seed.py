"""The random numbers of an optimizer in a training script of one's own: the same in every replica, in every step others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from altgrad_core.numerics.random import derive_key
from altgrad_core.numerics.tracing import not_traced
from altgrad_core.running.assembly.environment import seed_generator
from altgrad_core.running.model.moment import STEP_MOMENT, Moment


def seed_steps(optimizer: Optimizer, moment: Moment) -> None:
    """Seed torch's generators for every step by the seed and the step of a plan, and put them back afterwards.

    So what a script draws itself, such as dropout, neither depends on the optimizer nor makes replicas drift apart. Where the
    plan has not stepped since the last step, as while a program trains in its place, the numbers go on. In a step that a CUDA
    graph captures, the generators of the device are left alone: every replay draws their next numbers.
    """
    before: list[tuple[torch.device | None, Tensor]] = []
    after: list[tuple[torch.device | None, Tensor]] = []
    seeded: list[tuple[int, int]] = []

    @not_traced
    def seed(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        tensors = (tensor for group in optimizer.param_groups for tensor in group["params"])
        devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
        if devices and torch.cuda.is_current_stream_capturing():
            devices.clear()
        before[:] = _states((None, *devices))
        if seeded == [(moment.step, moment.loads)]:
            _put_back(state for state in after if state[0] in (None, *devices))
            return
        for device in (torch.device("cpu"), *devices):
            seed_generator(device, derive_key(moment.seed, "optimizer", moment.step))
        seeded[:] = [(moment.step, moment.loads)]

    @not_traced
    def restore(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        after[:] = _states(device for device, _ in before)
        _put_back(before)

    setattr(optimizer, STEP_MOMENT, moment)
    optimizer.register_step_pre_hook(seed)
    optimizer.register_step_post_hook(restore)


def _states(devices: Iterable[torch.device | None]) -> list[tuple[torch.device | None, Tensor]]:
    """The states of generators; None is the CPU's."""
    return [(each, torch.get_rng_state() if each is None else torch.cuda.get_rng_state(each)) for each in devices]


def _put_back(states: Iterable[tuple[torch.device | None, Tensor]]) -> None:
    for device, state in states:
        if device is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)

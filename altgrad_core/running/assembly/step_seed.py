"""The random numbers of an optimizer in a training script of one's own: the same in every replica, in every step others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from altgrad_core.numerics.random import derive_key
from altgrad_core.running.assembly.environment import seed_generator
from altgrad_core.running.model.moment import STEP_MOMENT, Moment


def seed_steps(optimizer: Optimizer, moment: Moment) -> None:
    """Seed torch's generators for every step by the seed and the step of a plan, and put them back afterwards.

    So what a script draws itself, such as dropout, neither depends on the optimizer nor makes replicas drift apart. In a step
    that a CUDA graph captures, the generators of the device are left alone: every replay draws their next numbers.
    """
    before: list[tuple[torch.device | None, Tensor]] = []

    def seed(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        tensors = (tensor for group in optimizer.param_groups for tensor in group["params"])
        devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
        if devices and torch.cuda.is_current_stream_capturing():
            devices.clear()
        before[:] = [(None, torch.get_rng_state()), *((each, torch.cuda.get_rng_state(each)) for each in devices)]
        for device in (torch.device("cpu"), *devices):
            seed_generator(device, derive_key(moment.seed, "optimizer", moment.step))

    def restore(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for device, state in before:
            if device is None:
                torch.set_rng_state(state)
            else:
                torch.cuda.set_rng_state(state, device)

    setattr(optimizer, STEP_MOMENT, moment)
    optimizer.register_step_pre_hook(seed)
    optimizer.register_step_post_hook(restore)

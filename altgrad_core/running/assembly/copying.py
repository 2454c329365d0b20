"""Copies and pickles of optimizers: torch keeps only groups, state and defaults, and forgets every other attribute."""

from __future__ import annotations

import copyreg
from typing import Any

from torch.optim import Optimizer

from altgrad_core.running.assembly.step_seed import seed_steps
from altgrad_core.running.model.moment import STEP_MOMENT

LEFT_OUT = ("_optimizer_", "_opt_called", "step")
"""Hooks, and what a schedule puts on an optimizer: these belong to the original, as torch has it. Seeds of steps come along."""


def make_copyable(optimizer: Optimizer) -> Optimizer:
    """Have `copy.deepcopy` and `pickle` keep every attribute of optimizers of this class, unless it says how itself."""
    cls = type(optimizer)
    if cls.__getstate__ is Optimizer.__getstate__ and not cls.__module__.startswith("torch."):
        copyreg.pickle(cls, _reduced)
    return optimizer


def _reduced(optimizer: Optimizer) -> tuple[Any, ...]:
    state = {name: value for name, value in vars(optimizer).items() if not name.startswith(LEFT_OUT)}
    return _copied, (type(optimizer), state)


def _copied(cls: type[Optimizer], state: dict[str, Any]) -> Optimizer:
    optimizer = cls.__new__(cls)
    optimizer.__setstate__(state)
    if (moment := state.get(STEP_MOMENT)) is not None:
        seed_steps(optimizer, moment)
    return optimizer

"""Copies and pickles of optimizers: torch keeps only groups, state and defaults, and forgets every other attribute."""

from __future__ import annotations

import copyreg
from typing import Any

from torch.optim import Optimizer

LEFT_OUT = ("_optimizer_", "_opt_called", "step")
"""Hooks, and what a schedule puts on an optimizer: these belong to the original, as torch has it."""


def make_copyable(optimizer: Optimizer) -> Optimizer:
    """Have `copy.deepcopy` and `pickle` keep every attribute of optimizers of this class, unless it says how itself."""
    cls = type(optimizer)
    if cls.__getstate__ is Optimizer.__getstate__ and not cls.__module__.startswith("torch."):
        copyreg.pickle(cls, _reduced)
    return optimizer


def _reduced(optimizer: Optimizer) -> tuple[Any, ...]:
    state = {name: value for name, value in vars(optimizer).items() if not name.startswith(LEFT_OUT)}
    return _empty, (type(optimizer),), state


def _empty(cls: type[Optimizer]) -> Optimizer:
    return cls.__new__(cls)

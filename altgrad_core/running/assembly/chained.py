"""Several optimizers as one, and restoring the state of any optimizer exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from altgrad_core.numerics.lean_optimizer import LeanOptimizer
from altgrad_core.numerics.split_optimizer import keep_types
from altgrad_core.running.assembly.joined_state import joined, parted


class ChainedOptimizer(LeanOptimizer):
    """Steps its members one after the other; each has parameters of its own.

    `param_groups` are the members' own, in their order, so that a schedule reaches them; `state` is theirs as of the
    last step.
    """

    def __init__(self, members: Sequence[Optimizer]) -> None:
        self.members = tuple(members)
        super().__init__([group for member in self.members for group in member.param_groups], {})
        self._gather()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every member."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for member in self.members:
            member.step()
        self._gather()
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Give a group to the first member, whose defaults it takes; while the chain is made, groups are the members'."""
        if any(param_group is group for member in self.members for group in member.param_groups):
            super().add_param_group(param_group)
            return
        self.members[0].add_param_group(param_group)
        self._gather()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the members do it."""
        for member in self.members:
            member.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """`state` and `param_groups` as of any optimizer, parameters numbered through all members.

        What a member keeps of no parameter stands under its number and the name, such as `1/generator`.
        """
        return joined([member.state_dict() for member in self.members])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore every member exactly.

        Raises:
            ValueError: it is of other groups of parameters.
        """
        counts = [[len(group["params"]) for group in member.param_groups] for member in self.members]
        for member, saved in zip(self.members, parted(state_dict, counts), strict=True):
            load_exactly(member, saved)
        self._gather()

    def _gather(self) -> None:
        self.param_groups = [group for member in self.members for group in member.param_groups]
        self.state.clear()
        for member in self.members:
            self.state.update(member.state)


def chained(members: Sequence[Optimizer]) -> Optimizer:
    """One optimizer of several: the only one itself, or a chain."""
    return members[0] if len(members) == 1 else ChainedOptimizer(members)


def members_of(optimizer: Optimizer) -> tuple[Optimizer, ...]:
    """Those of a chain, or the optimizer alone."""
    return optimizer.members if isinstance(optimizer, ChainedOptimizer) else (optimizer,)


def load_exactly(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """`load_state_dict`, but exact: torch casts state to the type of its parameter, here it keeps the type it was saved in."""
    optimizer.load_state_dict(state)
    if not isinstance(optimizer, ChainedOptimizer):
        keep_types(optimizer, state)

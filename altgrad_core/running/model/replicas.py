"""Replicas of one model in a training script of one's own, as DistributedDataParallel has them: what their plans exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from altgrad_core.numerics.tally import Tally
from altgrad_core.running.model.moment import ONCE_A_STEP
from altgrad_core.running.model.operand import Operand

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

NOTHING = -1.0
"""Stands for a magnitude that was not seen; all others are 0 or more."""


def group_of(group: ProcessGroup | None) -> ProcessGroup | None:
    """The processes that hold replicas: those given, else all of torch.distributed; None where this one is alone."""
    if group is None:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return None
        group = torch.distributed.group.WORLD
    return group if torch.distributed.get_world_size(group) > 1 else None


def reduce_seen(operands: Sequence[Operand], group: ProcessGroup) -> None:
    """Give every replica what the operands of all have seen in this step, in two collectives.

    The largest magnitudes are the maximum over replicas, so that delayed scales are the same; counts are sums. A weight and
    its moments are the same in every replica, and so are their counts.
    """
    from torch.distributed import ReduceOp

    magnitudes = torch.stack([_magnitudes(operand) for operand in operands])
    counts = torch.stack([_counts(operand) for operand in operands])
    torch.distributed.all_reduce(magnitudes, op=ReduceOp.MAX, group=group)
    torch.distributed.all_reduce(counts, op=ReduceOp.SUM, group=group)
    for operand, magnitude, numbers in zip(operands, magnitudes, counts.tolist(), strict=True):
        operand.take_reduced(_tally(operand, magnitude[0], numbers), magnitude[1])


def _magnitudes(operand: Operand) -> Tensor:
    """The amax of the counts and that of delayed scaling, float32 of shape (2,)."""
    seen = operand.seen()
    result = (None, None) if seen is None else (None if seen.tally is None else seen.tally.amax, seen.pending)
    nothing = operand.scale.new_full((), NOTHING)
    return torch.stack([nothing if value is None else value.to(nothing) for value in result])


def _counts(operand: Operand) -> Tensor:
    """Whether there are counts, and these, int64 of shape (6,)."""
    seen = operand.seen()
    device = operand.scale.device
    if seen is None or seen.tally is None:
        return torch.zeros(6, dtype=torch.int64, device=device)
    elements, _, *others = seen.tally
    return torch.stack([torch.as_tensor(n, dtype=torch.int64, device=device) for n in (1, elements, *others)])


def _tally(operand: Operand, amax: Tensor, numbers: Sequence[int]) -> Tally | None:
    """The counts of all replicas; of a weight those of each one that counted it."""
    replicas, *counts = numbers
    if not replicas:
        return None
    if operand.role in ONCE_A_STEP:
        counts = [count // replicas for count in counts]
    elements, *others = counts
    return Tally(elements, amax, *others)

"""What processes exchange in every step: gradients, losses, and what their operands saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from altgrad_core.running.model.plan import Plan
from altgrad_core.running.parallel.processes import Processes
from altgrad_core.running.parallel.tree import Node, Tensors, TreeSum, shapes_of

Reduction = Literal["exact", "fast"]

AT_ONCE = 1 << 24
"""Elements that are sent at a time; of each, `exact` holds one copy for every process."""


def total_of(
    mine: TreeSum, processes: Processes, *, leaves: int, like: Sequence[Tensor], how: Reduction = "exact"
) -> Tensors:
    """The sum of all leaves, the same in every process.

    Args:
        mine: the nodes of this process's share.
        like: a tensor of the shape, type and device of each of a node's.
        how: `exact`: in the order of the tree, whatever the number of processes. `fast`: in the order that is fastest for the
            network; the last bits depend on the number of processes.
    """
    if processes.size == 1:
        return mine.total()
    if how == "fast":
        return _summed(mine.total(), processes, like)
    present = processes.gather([[tensor is not None for tensor in node.tensors] for node in mine.nodes])
    received = [
        _received(_filled(node.tensors, _any(present, number), like), processes)
        for number, node in enumerate(mine.nodes)
    ]
    tree = TreeSum()
    for rank in range(processes.size):
        each = leaves // processes.size
        for number, (level, place) in enumerate(shapes_of(range(rank * each, (rank + 1) * each))):
            tensors = [t if has else None for t, has in zip(received[number][rank], present[rank][number], strict=True)]
            tree.add(Node(level, place, tensors))
    return tree.total()


def exchange(plan: Plan, processes: Processes, signal: int | None) -> int | None:
    """Give every process what the operands of all have seen in this step; a signal that any of them received.

    Counts are added, magnitudes compared, and the scale is that of the last micro-batch, as in one process. A weight is
    rounded once a step, alike in every process; those whose layer some process did not call take it from another.
    """
    if processes.size == 1:
        return signal
    operands = list(plan.operands())
    weights = [operand for operand in operands if operand.role == "weight"]
    gathered = processes.gather((signal, [weight.is_seen for weight in weights]))
    uneven = [w for w, *flags in zip(weights, *(flags for _, flags in gathered), strict=True) if len(set(flags)) > 1]
    shared = [operand for operand in operands if operand.role != "weight"] + uneven
    for operand, *seen in zip(shared, *processes.gather([operand.seen() for operand in shared]), strict=True):
        operand.take(seen)
    return next((number for number, _ in gathered if number is not None), None)


def _summed(tensors: Tensors, processes: Processes, like: Sequence[Tensor]) -> Tensors:
    present = processes.gather([tensor is not None for tensor in tensors])
    total = _filled(tensors, [any(flags) for flags in zip(*present, strict=True)], like)
    for bucket in _buckets(total):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        processes.sum(flat)
        for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(part.view_as(tensor))
    return total


def _any(present: Sequence[Sequence[Sequence[bool]]], place: int) -> list[bool]:
    """Which tensors of a node any process has."""
    return [any(flags) for flags in zip(*(rank[place] for rank in present), strict=True)]


def _filled(tensors: Tensors, used: Sequence[bool], like: Sequence[Tensor]) -> Tensors:
    """Zeros where another process has a tensor and this one has none."""
    pairs = zip(tensors, used, like, strict=True)
    return [(torch.zeros_like(shape) if tensor is None else tensor) if has else None for tensor, has, shape in pairs]


def _received(tensors: Tensors, processes: Processes) -> list[Tensors]:
    """The tensors of one node of every process, by rank."""
    by_rank: list[list[Tensor]] = [[] for _ in range(processes.size)]
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        for rank, got in enumerate(processes.gather_tensor(flat)):
            parts = got.split([t.numel() for t in bucket])
            by_rank[rank] += [part.view(t.shape) for part, t in zip(parts, bucket, strict=True)]
    iterators = [iter(parts) for parts in by_rank]
    return [[None if tensor is None else next(parts) for tensor in tensors] for parts in iterators]


def _buckets(tensors: Tensors) -> Iterator[list[Tensor]]:
    """The tensors there are, in order, in groups of one type and limited size."""
    for _, group in groupby((t for t in tensors if t is not None), key=lambda t: (t.dtype, t.device)):
        bucket: list[Tensor] = []
        for tensor in group:
            if bucket and sum(t.numel() for t in bucket) + tensor.numel() > AT_ONCE:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket

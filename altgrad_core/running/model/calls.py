"""Which call of an operand within a micro-batch this is: each has its own noise, and recomputation repeats it."""

from __future__ import annotations

import torch
from torch import Tensor

Fingerprint = tuple[torch.Size, torch.dtype, int]


class Calls:
    """The calls of one operand at one moment. A recomputed call is known by its input, which has the same bits.

    Where several calls have one input: a segment is recomputed in the order of its calls, the last segment first.
    """

    def __init__(self) -> None:
        self._at: object = None
        self._count, self._next = 0, -1
        self._inputs: dict[Fingerprint, list[int]] = {}

    def new(self, x: Tensor | None, at: object) -> int:
        """The number of a new call with input `x`, from 0; `at` names the micro-batch of a step.

        Where `x` is None the call is never repeated: to tell inputs apart takes a pass over each, and waits for its device.
        """
        if at != self._at:
            self._at, self._count, self._inputs = at, 0, {}
        if x is not None:
            self._inputs.setdefault(fingerprint(x), []).append(self._count)
        self._count += 1
        return self._count - 1

    def repeated(self, x: Tensor) -> int:
        """The number of the call that is repeated with input `x`."""
        numbers = self._inputs.get(fingerprint(x), [0])
        chosen = self._next if self._next in numbers else _last_run(numbers)
        if len(numbers) > 1:
            numbers.remove(chosen)
        self._next = chosen + 1
        return chosen


def _last_run(numbers: list[int]) -> int:
    """Where the last run of consecutive numbers begins."""
    start = numbers[-1]
    while start - 1 in numbers:
        start -= 1
    return start


def fingerprint(x: Tensor) -> Fingerprint:
    """Shape, type, and the sum of the bits of all elements."""
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    return x.shape, x.dtype, int(x.detach().contiguous().view(integer).sum(dtype=torch.int64)) if x.numel() else 0


def is_recomputing() -> bool:
    """Whether a forward pass runs within a backward one, as both kinds of activation checkpointing have it."""
    return torch._C._current_graph_task_id() != -1

"""Whether code that may only look has written to a weight or a gradient."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ALWAYS, THEN_EVERY = 3, 16
"""The contents are compared around this many first looks of each observer, and around every so manyth after them."""

COLUMNS = 1021
"""A prime, so that rows that change places change the sums of columns."""


class Mark(NamedTuple):
    """What tells a tensor from one that was written to; `None` where there is no tensor.

    Attributes:
        identity: which object it is: a gradient may be replaced.
        version: torch's count of writes in place.
        checksum: of its contents; `None` where it was not taken.
    """

    identity: int
    version: int
    checksum: int | None


Marks = dict[str, Mark | None]


class Untouched:
    """Compares weights and their gradients before and after somebody looked at them.

    Writes in place are counted by torch, which costs nothing. It does not count those through `.data` and through arrays
    of NumPy that share the memory: these are seen by a checksum of all contents, which reads every byte, and is taken
    around some of the looks alone unless `always`.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, always: bool) -> None:
        self._weights, self._always = dict(weights), always
        self._of_gradients = [f"the gradient of {name}" for name in self._weights]
        self._looks: dict[int, int] = {}
        self._known: Marks | None = None

    def forget(self) -> None:
        """What was known of the contents no longer holds: others may write from now on."""
        self._known = None

    def before(self, observer: int) -> Marks:
        """What the tensors are before this observer, known by a number, looks at them."""
        looks = self._looks.get(observer, 0)
        self._looks[observer] = looks + 1
        if not self._weights:
            return {}
        if not (self._always or looks < ALWAYS or looks % THEN_EVERY == 0):
            return self._marks(contents=False)
        return self._known if self._known is not None else self._marks(contents=True)

    def written(self, before: Marks) -> list[str]:
        """What was written to since then: `NAME` or `the gradient of NAME`."""
        contents = any(mark is not None and mark.checksum is not None for mark in before.values())
        after = self._marks(contents=contents)
        self._known = after if contents else None
        return [name for name, mark in after.items() if mark != before[name]]

    def _marks(self, *, contents: bool) -> Marks:
        gradients = [weight.grad for weight in self._weights.values()]
        tensors: dict[str, Tensor | None] = {**self._weights, **dict(zip(self._of_gradients, gradients, strict=True))}
        if not contents:
            return {name: None if x is None else Mark(id(x), x._version, None) for name, x in tensors.items()}
        there = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        sums = checksums(list(there.values()))
        marks = {
            name: Mark(id(x), x._version, checksum) for (name, x), checksum in zip(there.items(), sums, strict=True)
        }
        return {name: marks.get(name) for name in tensors}


def checksums(tensors: Sequence[Tensor]) -> Sequence[int]:
    """CRC-32 of the bytes of each tensor; of one that is not on the CPU, of sums of them that are computed where it is.

    All sums of a device are fetched at once, so that the host waits for it once.
    """
    flat = [_flat(tensor) for tensor in tensors]
    of_device: dict[torch.device, list[int]] = {}
    for index, values in enumerate(flat):
        if values.device.type != "cpu":
            flat[index] = _column_sums(values)
            of_device.setdefault(values.device, []).append(index)
    for indices in of_device.values():
        fetched = torch.cat([flat[index] for index in indices]).cpu()
        for index, values in zip(indices, fetched.split([len(flat[index]) for index in indices]), strict=True):
            flat[index] = values
    return [zlib.crc32(values.view(torch.uint8).numpy().data) for values in flat]


def _flat(tensor: Tensor) -> Tensor:
    values = tensor.detach()
    if values.layout is not torch.strided:
        values = values._values()
    return values.contiguous().flatten()


def _column_sums(flat: Tensor) -> Tensor:
    """Sums, modulo 2^32, of the contents taken as whole numbers, in rows of `COLUMNS`."""
    whole = flat.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()])
    rows = whole.numel() // COLUMNS
    head, tail = whole[: rows * COLUMNS], whole[rows * COLUMNS :]
    return torch.cat([head.view(rows, COLUMNS).sum(0, dtype=torch.int32), tail.to(torch.int32)])

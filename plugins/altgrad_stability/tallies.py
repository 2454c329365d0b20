"""Numbers out of what rounding leaves behind; imports nothing but torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def plain(rows: Sequence[Iterable[Tensor | float]]) -> list[list[float]]:
    """Rows as plain numbers, in one transfer; exact for float32 and for counts below 2 ** 53."""
    table = [list(row) for row in rows]
    numbers = iter(_fetched([torch.as_tensor(number) for row in table for number in row]))
    return [[next(numbers) for _ in row] for row in table]


def together(amaxes: Sequence[Tensor]) -> Tensor:
    """A copy of numbers of one type, shape (n,), on the device of the first."""
    return torch.stack([amax.to(amaxes[0].device) for amax in amaxes])


def fetched_rows(rows: Sequence[Tensor]) -> list[list[float]]:
    """Rows of one type as plain numbers, in one transfer."""
    if not rows:
        return []
    numbers = torch.cat([row.to(rows[0].device) for row in rows]).cpu()
    return [part.tolist() for part in numbers.split([len(row) for row in rows])]


def _fetched(numbers: Sequence[Tensor]) -> list[float]:
    """Those of one type are put together before they are converted, so that a GPU is asked once for all of them."""
    if not numbers:
        return []
    places: dict[torch.dtype, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number.dtype, []).append(place)
    stacked = [torch.stack([numbers[p].to(numbers[0].device) for p in of_type]) for of_type in places.values()]
    fetched = torch.cat([part.double() for part in stacked]).tolist()
    order = [place for of_type in places.values() for place in of_type]
    return [number for _, number in sorted(zip(order, fetched, strict=True))]


def headroom(amax: float, *, scale: float, largest: float) -> float | None:
    """log2(scale * largest / amax): the binades between amax and the end of the grid; None where amax is 0."""
    return math.log2(scale * largest / amax) if amax else None

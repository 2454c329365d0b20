"""Statistics of one layer in a row, what is undefined as NaN; imports nothing but torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

PERCENTS = (10, 50, 90)


def by_reading(names: Sequence[str], rows: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """`{reading: {layer: number}}` of rows by layer, float64 of shape (readings,); NaN is left out."""
    table = torch.stack(list(rows.values())).tolist() if rows else []
    return {
        name: {path: row[column] for path, row in zip(rows, table, strict=True) if not math.isnan(row[column])}
        for column, name in enumerate(names)
    }


def nothing(x: Tensor, *shape: int) -> Tensor:
    """Statistics that are undefined, of this shape, where `x` is."""
    return x.new_full(shape, torch.nan, dtype=torch.float64)


def kept(keep: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """The elements of some tensors where `keep`, each of shape (n,)."""
    if bool(keep.all()):
        return tuple(other.flatten() for other in others)
    return tuple(other[keep] for other in others)


def quantiles(x: Tensor) -> Tensor:
    """For 10, 50, 90 %: the smallest element that at least so many of all do not exceed; x: (n,), n > 0."""
    ranks = (-(-percent * len(x) // 100) for percent in PERCENTS)  # rounded up
    return torch.stack([x.kthvalue(rank).values for rank in ranks])


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's, float64 of shape (); NaN where `x` or `y`, both (n,), does not vary."""
    if not (_varies(x) and _varies(y)):
        return nothing(x)
    x, y = _centered(x), _centered(y)
    return (torch.dot(x, y) / (torch.dot(x, x) * torch.dot(y, y)).sqrt()).clamp(-1, 1)


def slope(x: Tensor, y: Tensor) -> Tensor:
    """b of the least-squares line y = a + b x, float64 of shape (); NaN where `x`, (n,), does not vary."""
    if not _varies(x):
        return nothing(x)
    x, y = _centered(x), _centered(y)
    return torch.dot(x, y) / torch.dot(x, x)


def variation(x: Tensor) -> Tensor:
    """Population standard deviation over mean of `x`, (n,), not negative; NaN for nothing or zeros alone."""
    if not len(x):
        return nothing(x)
    x = x.double()
    return x.std(correction=0) / x.mean()


def _varies(x: Tensor) -> bool:
    return len(x) > 1 and bool(x.min() != x.max())


def _centered(x: Tensor) -> Tensor:
    x = x.double()
    return x - x.mean()

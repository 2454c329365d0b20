"""The distribution of moves in rungs; imports nothing but torch."""

from __future__ import annotations

import torch
from torch import Tensor

PERCENTS = (50, 90, 99)


NAMES = ("mean", "mean-abs", "std", *(f"p{percent}" for percent in PERCENTS), "cv", "below-half", "quality")


def displacement_statistics(before: Tensor, after: Tensor, *, changed: Tensor, quality: Tensor) -> Tensor:
    """Statistics of d = after - before over all elements, in rungs; float64, one for each of `NAMES`, NaN where undefined.

    - `mean`, `mean-abs`, `std`: of d, |d| and d; the standard deviation is that of the elements, no estimate (1/n).
    - `p50`, `p90`, `p99`: the smallest value of |d| that at least so many per cent of the elements do not exceed.
    - `cv`: standard deviation of |d| / mean of |d|; undefined where nothing moved.
    - `below-half`: the share with |d| < 1/2 among elements that changed; undefined where none did.
    - `quality`: as it is given.

    All are undefined where a position is not finite. Nothing is fetched from a device.

    Args:
        before, after: positions in rungs, float64 of one shape, with at least one element.
        changed: of the same shape, which elements have another value.
        quality: float64 of shape (), see `descent_quality`.
    """
    moves = (after - before).flatten()
    sizes = moves.abs()
    spread, small, average = sizes.std(correction=0), (sizes < 0.5) & changed.flatten(), sizes.mean()
    percentiles = (_percentile(sizes, percent) for percent in PERCENTS)
    of_changed = small.sum().double() / changed.sum()
    row = torch.stack(
        [moves.mean(), average, moves.std(correction=0), *percentiles, spread / average, of_changed, quality]
    )
    return torch.where(average.isfinite(), row, torch.nan)


def descent_quality(weights: tuple[Tensor, Tensor], rounded: tuple[Tensor, Tensor]) -> Tensor:
    """<applied, intended> / |intended|^2, of the steps from the first to the second of each pair; float64 of shape ().

    NaN where the intended step is zero or not finite.
    """
    intended, applied = (pair[1].double() - pair[0].double() for pair in (weights, rounded))
    largest = intended.abs().amax()
    inner, square = (applied * intended / largest).sum(), (intended * intended / largest).sum()
    return torch.where((square > 0) & square.isfinite() & inner.isfinite(), inner / square, torch.nan)


def _percentile(values: Tensor, percent: int) -> Tensor:
    return values.kthvalue(max(1, -(-percent * len(values) // 100))).values

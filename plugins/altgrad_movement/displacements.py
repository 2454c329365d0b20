"""The distribution of moves in rungs; imports nothing but torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PERCENTS = (50, 90, 99)


def displacement_statistics(before: Tensor, after: Tensor, *, changed: Tensor) -> dict[str, float]:
    """Statistics of d = after - before over all elements, in rungs; those that are undefined are absent.

    - `mean`, `mean-abs`, `std`: of d, |d| and d; the standard deviation is that of the elements, no estimate (1/n).
    - `p50`, `p90`, `p99`: the smallest value of |d| that at least so many per cent of the elements do not exceed.
    - `cv`: standard deviation of |d| / mean of |d|; absent where nothing moved.
    - `below-half`: the share with |d| < 1/2 among elements that changed; absent where none did.

    Args:
        before, after: positions in rungs, float64 of one shape.
        changed: of the same shape, which elements have another value.

    Returns:
        Nothing where a position is not finite, or there is none.
    """
    moves = (after - before).flatten()
    if not len(moves):
        return {}
    sizes = moves.abs()
    spread, small = sizes.std(correction=0), (sizes < 0.5) & changed.flatten()
    result = _numbers(
        {
            "mean": moves.mean(),
            "mean-abs": sizes.mean(),
            "std": moves.std(correction=0),
            **{f"p{percent}": _percentile(sizes, percent) for percent in PERCENTS},
            "cv": spread / sizes.mean(),
            "below-half": small.sum().double() / changed.sum(),
        }
    )
    if not math.isfinite(result["mean-abs"]):
        return {}
    return {name: number for name, number in result.items() if not math.isnan(number)}  # NaN: 0 / 0


def descent_quality(weights: tuple[Tensor, Tensor], rounded: tuple[Tensor, Tensor]) -> float | None:
    """<applied, intended> / |intended|^2, of the steps from the first to the second of each pair.

    None where the intended step is zero or not finite.
    """
    intended, applied = (pair[1].double() - pair[0].double() for pair in (weights, rounded))
    largest = intended.abs().amax() if intended.numel() else intended.new_zeros(())
    inner, square = torch.stack([(applied * intended / largest).sum(), (intended * intended / largest).sum()]).tolist()
    return inner / square if square > 0 and math.isfinite(inner) and math.isfinite(square) else None


def _percentile(values: Tensor, percent: int) -> Tensor:
    return values.kthvalue(max(1, -(-percent * len(values) // 100))).values


def _numbers(tensors: dict[str, Tensor]) -> dict[str, float]:
    """Every number in one transfer."""
    return dict(zip(tensors, torch.stack([tensor.double() for tensor in tensors.values()]).tolist(), strict=True))

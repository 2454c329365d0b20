"""How a value moves to the grid: the reference, plain and slow, that judges every fast path.

All arithmetic is float64 on float32 grids and is exact for every format of the floating family.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from altgrad_core.errors import FormatError
from altgrad_core.numerics.random import philox_words

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.grid import Grid

RoundingName = Literal[
    "nearest-even", "nearest-away", "toward-zero", "toward-positive", "toward-negative", "stochastic"
]
FRACTION_BITS = 24  # random bits of stochastic rounding


def round_to_index(x: Tensor, grid: Grid, *, rounding: str = "nearest-even", key: int | None = None) -> Tensor:
    """The index of the grid value that each element of `x` rounds to.

    Args:
        x: any shape, already divided by the scale; beyond the ends of the grid it saturates. NaN gives any index.
        rounding: a name in `ROUNDINGS`.
        key: names the random stream of stochastic rounding; element i of the flattened `x` draws word i.

    Returns:
        int64 indices into `grid.values`, of the shape of `x`.
    """
    import torch

    values = grid_tensor(grid, x.device)
    inside = x.detach().to(torch.float64).nan_to_num(nan=0.0).clamp(values[0], values[-1])
    below = (torch.searchsorted(values, inside.contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
    return below + ROUNDINGS[rounding](inside, values[below], values[below + 1], below - grid.origin, key)


def round_to_values(x: Tensor, grid: Grid, *, rounding: str = "nearest-even", key: int | None = None) -> Tensor:
    """The grid value that each element of `x` rounds to, float64, of the shape of `x`; see `round_to_index`."""
    return grid_tensor(grid, x.device)[round_to_index(x, grid, rounding=rounding, key=key)]


def nearest_even(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: to the nearer value, on a tie to the even rung. `rung` is the number of `low`."""
    nearer, tie = _is_nearer_to_high(x, low, high)
    return nearer | (tie & (rung % 2 != 0))


def nearest_away(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: to the nearer value, on a tie away from zero."""
    nearer, tie = _is_nearer_to_high(x, low, high)
    return nearer | (tie & (x >= 0))


def toward_zero(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: only from below zero, or where `x` is `high` itself; never to the other side of zero."""
    return (x >= high) | ((x < 0) & (x > low) & (high <= 0)) | ((x >= 0) & (low < 0))


def toward_positive(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: wherever `x` is not `low` itself."""
    return x > low


def toward_negative(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: only where `x` is `high` itself."""
    return x >= high


def _is_nearer_to_high(x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Whether `x` is nearer to `high` than to `low`, and whether it is exactly half-way."""
    total = low + high
    low_part = total - high
    tail = (low - low_part) + (high - (total - low_part))  # TwoSum (Knuth): low + high is exactly total + tail
    twice = 2 * x
    return (twice > total) | ((twice == total) & (tail < 0)), (twice == total) & (tail == 0)


def stochastic(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: with probability floor(r * 2**24) / 2**24, for r the position of `x` between its neighbours.

    The position is measured from the end nearer to zero, where the subtraction is exact; between rungs on both sides
    of zero it may not be, and what it lost decides where the rest is a whole number.
    """
    if key is None:
        raise FormatError("stochastic rounding needs a key: pass key=derive_key(seed, stream, step)")
    import torch

    one = 2.0**FRACTION_BITS
    bits = (philox_words(key, x.numel(), device=x.device) >> (32 - FRACTION_BITS)).reshape(x.shape)
    gap = high - low
    above = x - low
    rest = x - above
    error = (x - (above + rest)) + (rest - low)  # TwoDiff (Knuth): x - low is exactly above + error
    place = above / gap * one
    upward = place.floor() - ((error < 0) & (place == place.floor())).double()
    downward = torch.ceil((high - x) / gap * one)
    chance = torch.where((high <= 0) & (low < 0), one - downward, upward)
    return bits + chance.to(torch.int64) >= int(one)


ROUNDINGS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, int | None], Tensor]] = {
    "nearest-even": nearest_even,
    "nearest-away": nearest_away,
    "toward-zero": toward_zero,
    "toward-positive": toward_positive,
    "toward-negative": toward_negative,
    "stochastic": stochastic,
}


@lru_cache(maxsize=256)
def grid_tensor(grid: Grid, device: object = "cpu") -> Tensor:
    """The grid's values as float64 of shape (rungs,)."""
    import torch

    return torch.tensor(grid.values, dtype=torch.float64, device=device)  # type: ignore[arg-type]

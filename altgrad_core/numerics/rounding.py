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

RoundingName = Literal["nearest-even", "stochastic"]
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


def nearest_even(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: to the nearer value, on a tie to the even rung. `rung` is the number of `low`."""
    total = low + high
    low_part = total - high
    tail = (low - low_part) + (high - (total - low_part))  # TwoSum (Knuth): low + high is exactly total + tail
    twice = 2 * x
    tie = (twice == total) & (tail == 0)
    return (twice > total) | ((twice == total) & (tail < 0)) | (tie & (rung % 2 != 0))


def stochastic(x: Tensor, low: Tensor, high: Tensor, rung: Tensor, key: int | None) -> Tensor:
    """Whether to go up: with probability floor(r * 2**24) / 2**24, for r the position of `x` between its neighbours.

    The position is measured from the end nearer to zero, where the subtraction is exact.
    """
    if key is None:
        raise FormatError("stochastic rounding needs a key: pass key=derive_key(seed, stream, step)")
    import torch

    one = 2.0**FRACTION_BITS
    bits = (philox_words(key, x.numel(), device=x.device) >> (32 - FRACTION_BITS)).reshape(x.shape)
    gap = high - low
    upward = torch.floor((x - low) / gap * one)
    downward = torch.ceil((high - x) / gap * one)
    chance = torch.where((high <= 0) & (low < 0), one - downward, upward)
    return bits + chance.to(torch.int64) >= int(one)


ROUNDINGS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, int | None], Tensor]] = {
    "nearest-even": nearest_even,
    "stochastic": stochastic,
}


@lru_cache(maxsize=256)
def grid_tensor(grid: Grid, device: object = "cpu") -> Tensor:
    """The grid's values as float64 of shape (rungs,)."""
    import torch

    return torch.tensor(grid.values, dtype=torch.float64, device=device)  # type: ignore[arg-type]

"""What is right where rounding goes wrong: the landmarks of a format, and exact arithmetic to judge them by."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction

import torch
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.grid import Grid
from altgrad_core.numerics.rounding import FRACTION_BITS


def landmarks(format: Format) -> Tensor:
    """Finite float32 values where rounding goes wrong, of shape (n,): the rungs, the midpoints, the float32 neighbours
    of both, values beyond the ends, zeros of both signs, and the smallest magnitudes, subnormal ones among them."""
    small = torch.tensor([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, -(2.0**-126), 3e-42, -3e-42])
    if format.is_identity:
        return torch.cat([small, torch.tensor([1.0, -1.0, 0.1, -0.1, format.largest, -format.largest])])
    rungs = rungs_of(format)
    exact = torch.cat([rungs, (rungs[1:] + rungs[:-1]) / 2]).float()
    beyond = torch.cat([rungs[[0, -1]] * factor for factor in (1.03125, 1.25, 1.5, 1.75, 2.0, 1000.0)]).float()
    neighbours = [torch.nextafter(exact, torch.tensor(end)) for end in (math.inf, -math.inf)]
    points = torch.cat([exact, *neighbours, beyond, small])
    return points[points.isfinite()]


def random_bits(count: int, *, seed: int = 0) -> Tensor:
    """Float32 of random bit patterns, shape (count,): every exponent, infinities and NaN in their share."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**31), 2**31, (count,), generator=generator).to(torch.int32).view(torch.float32)


def assert_same_bits(got: Tensor, expected: Tensor, x: Tensor) -> None:
    """Two roundings of `x` are one, bit for bit; a NaN of `x` keeps its bits, one that was made may have any."""
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape) == (x.dtype, x.shape)
    bits = {4: torch.int32, 2: torch.int16}[x.element_size()]
    numbers = ~expected.isnan()
    assert torch.equal(got.isnan(), ~numbers)
    assert torch.equal(got[numbers].view(bits), expected[numbers].view(bits))
    if x.dtype == torch.float32:
        assert torch.equal(got[x.isnan()].view(bits), x[x.isnan()].view(bits))


def rungs_of(format: Format) -> Tensor:
    """The grid of a format as float64 of shape (rungs,)."""
    return torch.tensor(format.grid.values, dtype=torch.float64)


def round_exactly(x: float, grid: Grid, rounding: str = "nearest-even", *, bits: int = 0) -> float:
    """The grid value that `x`, not NaN, rounds to: each mode as it is defined, in exact arithmetic.

    Args:
        bits: the 24 random bits of stochastic rounding.
    """
    above = bisect_left(grid.values, x)
    if above in (0, len(grid)) or grid.values[above] == x:
        return grid.values[min(above, len(grid) - 1)]
    return grid.values[above - 1 + _goes_up(x, grid, above, rounding, bits)]


def _goes_up(x: float, grid: Grid, above: int, rounding: str, bits: int) -> bool:
    """Whether `x`, strictly between two grid values, goes to the one with index `above`."""
    if rounding == "toward-zero":  # where the grid has no zero, it still does not cross it
        return grid.values[above] <= 0 if x < 0 else grid.values[above - 1] < 0
    if rounding in ("toward-positive", "toward-negative"):
        return rounding == "toward-positive"
    low, high = grid.values[above - 1], grid.values[above]
    if rounding == "stochastic":
        share = (Fraction(x) - Fraction(low)) / (Fraction(high) - Fraction(low))
        return bits + math.floor(share * 2**FRACTION_BITS) >= 2**FRACTION_BITS
    upper_is_even = (above - grid.origin) % 2 == 0
    if rounding == "to-odd":
        return not upper_is_even
    excess = math.fsum((2 * x, -low, -high))  # the exact sum, rounded once: its sign is exact
    tie_goes_up = {"nearest-even": upper_is_even, "nearest-odd": not upper_is_even, "nearest-away": x >= 0}[rounding]
    return excess > 0 or (excess == 0 and tie_goes_up)


def differences(what: str, x: Tensor, got: Tensor, expected: Tensor, *, bits: bool = False) -> Iterator[str]:
    """One sentence for each place where `got` is not `expected`; NaN equals NaN. `bits`: so must the sign of zero."""
    same = (got == expected) | (got.isnan() & expected.isnan())
    if bits:
        same &= got.isnan() | (got.signbit() == expected.signbit())
    for i in (~same).nonzero().flatten().tolist():
        yield f"{what} {x[i].item()!r} gave {got[i].item()!r}, expected {expected[i].item()!r}."

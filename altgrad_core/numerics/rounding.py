"""How a value between two rungs moves to the grid: each mode is a row of facts.

All arithmetic is float64 on float32 grids and is exact for every format of the floating family.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from altgrad_core.errors import FormatError
from altgrad_core.numerics.memory import remembered
from altgrad_core.numerics.random import Key, philox_words

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.grid import Grid

Toward = Literal["even", "odd", "away", "zero", "positive", "negative"]
FRACTION_BITS = 24  # random bits of stochastic rounding


@dataclass(frozen=True)
class Mode:
    """A rounding mode.

    Attributes:
        toward: which of its two neighbours a value between rungs goes to; in a nearest mode, a tie. `even`, `odd`: the
            rung with such a number, counted from rung 0. `away`, `zero`: away from zero, or toward it.
        nearest: whether a value that is not a tie goes to the nearer neighbour.
        random_bits: how many bits choose the neighbour by chance; 0 where nothing is left to chance.
    """

    toward: Toward = "even"
    nearest: bool = False
    random_bits: int = 0


MODES: dict[str, Mode] = {
    "nearest-even": Mode("even", nearest=True),  # IEEE 754 roundTiesToEven
    "nearest-away": Mode("away", nearest=True),  # IEEE 754 roundTiesToAway
    "toward-zero": Mode("zero"),
    "toward-positive": Mode("positive"),
    "toward-negative": Mode("negative"),
    "stochastic": Mode(random_bits=FRACTION_BITS),
    "nearest-odd": Mode("odd", nearest=True),
    "to-odd": Mode("odd"),  # S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums", 2008
}
ROUNDINGS = tuple(MODES)
FEW_BITS = r"stochastic:(?:[1-9]|1[0-9]|2[0-3])"  # stochastic with that many random bits


def pattern() -> str:
    """A regular expression of all names of roundings."""
    return f"^(?:{'|'.join(map(re.escape, MODES))}|{FEW_BITS})$"


def expected() -> str:
    """The names of roundings, as a sentence lists them."""
    return f"{', '.join(MODES)}, or stochastic:N with N random bits, 1 to {FRACTION_BITS - 1}"


def mode_of(rounding: str) -> Mode:
    """The facts of a rounding by its name.

    Raises:
        FormatError: there is none.
    """
    if rounding in MODES:
        return MODES[rounding]
    if re.fullmatch(FEW_BITS, rounding):
        return Mode(random_bits=int(rounding.removeprefix("stochastic:")))
    raise FormatError(f'no rounding "{rounding}"; one of {expected()}')


def round_to_index(x: Tensor, grid: Grid, *, rounding: str = "nearest-even", key: Key | None = None) -> Tensor:
    """The index of the grid value that each element of `x` rounds to.

    Args:
        x: any shape, already divided by the scale; beyond the ends of the grid it saturates. NaN gives any index.
        rounding: a name that `mode_of` knows.
        key: names the random stream of stochastic rounding; element i of the flattened `x` draws word i.

    Returns:
        int64 indices into `grid.values`, of the shape of `x`.
    """
    import torch

    values, mode = grid_tensor(grid, x.device), mode_of(rounding)
    inside = x.detach().to(torch.float64).nan_to_num(nan=0.0).clamp(values[0], values[-1])
    below = (torch.searchsorted(values, inside.contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
    low, high = values[below], values[below + 1]
    if mode.random_bits:
        return below + _goes_up_by_chance(inside, low, high, mode.random_bits, key)
    favours_high = _favours_high(mode.toward, inside, low, high, below - grid.origin)
    if mode.nearest:
        nearer, tie = _is_nearer_to_high(inside, low, high)
        return below + (nearer | (tie & favours_high))
    return below + ((inside >= high) | ((inside > low) & favours_high))


def round_to_values(x: Tensor, grid: Grid, *, rounding: str = "nearest-even", key: Key | None = None) -> Tensor:
    """The grid value that each element of `x` rounds to, float64, of the shape of `x`; see `round_to_index`."""
    return grid_tensor(grid, x.device)[round_to_index(x, grid, rounding=rounding, key=key)]


def _favours_high(toward: Toward, x: Tensor, low: Tensor, high: Tensor, rung: Tensor) -> Tensor:
    """Whether a mode prefers `high` to `low` for `x` between them; `rung` is the number of `low`."""
    match toward:
        case "even":
            return rung % 2 != 0
        case "odd":
            return rung % 2 == 0
        case "away":
            return x >= 0
        case "zero":  # never to the other side of zero
            return ((x < 0) & (high <= 0)) | ((x >= 0) & (low < 0))
    return (x == x) if toward == "positive" else (x != x)


def _is_nearer_to_high(x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Whether `x` is nearer to `high` than to `low`, and whether it is exactly half-way."""
    total = low + high
    low_part = total - high
    tail = (low - low_part) + (high - (total - low_part))  # TwoSum (Knuth): low + high is exactly total + tail
    twice = 2 * x
    return (twice > total) | ((twice == total) & (tail < 0)), (twice == total) & (tail == 0)


def _goes_up_by_chance(x: Tensor, low: Tensor, high: Tensor, random_bits: int, key: Key | None) -> Tensor:
    """Whether to go up: with probability floor(r * 2**N) / 2**N, for N bits and r the position of `x` above `low`.

    With fewer bits than `stochastic` has, this is the probability to go away from zero, and r the position seen from zero:
    so both signs lose alike, as in `StochasticFastest` of gfloat. The difference of `x` and a rung on the other side of zero
    may not be exact; what it lost decides where the rest is a whole number.
    """
    import torch

    check_key(key)
    assert key is not None
    one = 2.0**random_bits
    bits = (philox_words(key, x.numel(), device=x.device) >> (32 - random_bits)).reshape(x.shape)
    gap, upward = high - low, _units_between(low, x, high - low, one)
    if random_bits < FRACTION_BITS:
        outward = torch.where(x < 0, _units_between(x, high, gap, one), upward)
        return (bits + outward.to(torch.int64) >= int(one)) ^ (x < 0)
    chance = torch.where((high <= 0) & (low < 0), one - torch.ceil((high - x) / gap * one), upward)
    return bits + chance.to(torch.int64) >= int(one)


def _units_between(start: Tensor, end: Tensor, gap: Tensor, one: float) -> Tensor:
    """floor((end - start) / gap * one), for the exact difference."""
    difference = end - start
    rest = end - difference
    error = (end - (difference + rest)) + (rest - start)  # TwoDiff (Knuth): end - start is exactly difference + error
    place = difference / gap * one
    return place.floor() - ((error < 0) & (place == place.floor())).double()


def check_key(key: Key | None) -> None:
    """Refuse stochastic rounding without a key.

    Raises:
        FormatError: there is none, or it is no number of 64 bits.
    """
    if key is None:
        raise FormatError("stochastic rounding needs a key: pass key=derive_key(seed, stream, step)")
    is_number = isinstance(key, int) and -(2**63) <= key < 2**63
    if not (is_number or hasattr(key, "numel")):  # a tensor of one number, which is not waited for
        raise FormatError(f"key is {key!r}; expected a whole number of 64 bits, as derive_key(seed, stream, step)")


@remembered
def grid_tensor(grid: Grid, device: object = "cpu") -> Tensor:
    """The grid's values as float64 of shape (rungs,)."""
    import torch

    return torch.tensor(grid.values, dtype=torch.float64, device=device)  # type: ignore[arg-type]

"""The laws of a number format, tried on every code and on the values where rounding goes wrong."""

from __future__ import annotations

import json
import math
import re
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product

import torch
from torch import Tensor

from altgrad_core.errors import FormatError
from altgrad_core.numerics import kernels, reference
from altgrad_core.numerics.format import MOST_BITS, Format
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.grid import Grid
from altgrad_core.numerics.quantizer import decode, encode, quantize

Law = Callable[[Format], Iterator[str]]
EXACT_SAMPLE = 20_000  # values judged in exact arithmetic; formats of up to 11 bits are tried at all their landmarks
KEY = 20_240_229  # names the random stream of the stochastic laws


def check_format(format: Format) -> None:
    """Try every law a registered format must keep; about a second for 8 bits, a few for 16.

    Raises:
        AssertionError: the first law that is broken: its text, the code or value, what came and what was expected.
    """
    who = f'format "{getattr(format, "name", type(format).__name__)}"'
    for law in IDENTITY_LAWS if format.is_identity else LAWS:
        text = (law.__doc__ or "").strip()
        try:
            breach = next(law(format), None)
        except Exception as error:
            raise AssertionError(f"{who}, law: {text} It raised {type(error).__name__}: {error}") from error
        if breach is not None:
            raise AssertionError(f"{who}, law: {text} {breach}")


def nearest_rung_exactly(x: float, grid: Grid) -> int:
    """The number of the rung nearest to a finite `x`, ties to even, by exact fractions: the judge of the reference."""
    above = bisect_left(grid.values, x)
    if above == 0 or above == len(grid):
        return min(above, len(grid) - 1) - grid.origin
    excess = 2 * Fraction(x) - Fraction(grid.values[above - 1]) - Fraction(grid.values[above])
    goes_up = excess > 0 or (excess == 0 and (above - grid.origin) % 2 == 0)
    return above - 1 + goes_up - grid.origin


def landmarks(format: Format) -> Tensor:
    """Finite float32 values where rounding goes wrong, of shape (n,): the rungs, the midpoints, the float32 neighbours
    of both, values beyond the ends, zeros of both signs, and the smallest magnitudes, subnormal ones among them."""
    small = torch.tensor([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, -(2.0**-126), 3e-42, -3e-42])
    if format.is_identity:
        return torch.cat([small, torch.tensor([1.0, -1.0, 0.1, -0.1, format.largest, -format.largest])])
    rungs = _rungs(format)
    exact = torch.cat([rungs, (rungs[1:] + rungs[:-1]) / 2]).float()
    beyond = torch.cat([rungs[[0, -1]] * factor for factor in (1.03125, 1.25, 1.5, 1.75, 2.0, 1000.0)]).float()
    neighbours = [torch.nextafter(exact, torch.tensor(end)) for end in (math.inf, -math.inf)]
    points = torch.cat([exact, *neighbours, beyond, small])
    return points[points.isfinite()]


def name_is_plain(format: Format) -> Iterator[str]:
    """A name is lower case, of letters, digits, "_", "." and "-", and begins with a letter or digit."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", format.name):
        yield f"This one is {format.name!r}."


def format_is_a_value(format: Format) -> Iterator[str]:
    """A format can be hashed and equals itself (make a dataclass frozen)."""
    if hash(format) != hash(format) or format != format:
        yield "This one has another hash, or differs from itself, the second time."


def facts_are_json(format: Format) -> Iterator[str]:
    """facts() is plain JSON data, the same each time, and holds the name and the bits."""
    facts = format.facts()
    if json.loads(json.dumps(facts, allow_nan=False)) != facts or facts != format.facts():
        yield f"Read back it differs: {facts!r}."
    if facts.get("name") != format.name or facts.get("bits") != format.bits:
        yield f"It was {facts!r}, expected name {format.name!r} and bits {format.bits}."


def decode_gives_floats(format: Format) -> Iterator[str]:
    """decode gives a float for every code, the same each time."""
    if not isinstance(format.bits, int) or not (format.is_identity or 1 <= format.bits <= MOST_BITS):
        yield f"bits was {format.bits!r}, expected 1 to {MOST_BITS}."
    for code in range(0, 2**format.bits, 2 ** max(0, format.bits - MOST_BITS)):
        value, again = format.decode(code), format.decode(code)
        if not isinstance(value, float):
            yield f"Code {code} gave {value!r}, a {type(value).__name__}."
        elif struct.pack("<d", value) != struct.pack("<d", again):
            yield f"Code {code} gave {value!r}, then {again!r}."


def values_fit(format: Format) -> Iterator[str]:
    """Every finite value fits in float32, two of them differ, one is positive."""
    if format.grid.highest <= 0:
        yield f"The highest was {format.grid.highest!r}."


def codes_round_trip(format: Format) -> Iterator[str]:
    """encode(decode(code)) is the lowest code with the same value and the same sign of zero."""
    lowest: dict[str, int] = {}
    for code, value in enumerate(format.table):
        lowest.setdefault(repr(value), code)
    expected = torch.tensor([lowest[repr(value)] for value in format.table])
    codes = torch.arange(2**format.bits)
    got = encode(decode(codes, format), format, overflow="specials").to(torch.int64)
    yield from _differences("Code", codes, got, expected)


def nearest_is_nearest(format: Format) -> Iterator[str]:
    """Nearest rounding goes to the nearest rung, a tie to the even one, counted from rung 0."""
    rungs = _rungs(format)
    points = torch.cat([(rungs[1:] + rungs[:-1]) / 2, landmarks(format).double()])
    x = points[:: 1 + len(points) // EXACT_SAMPLE]
    chosen = [nearest_rung_exactly(value, format.grid) + format.grid.origin for value in x.tolist()]
    yield from _differences("Value", x, _nearest(x, format), rungs[chosen])


def rounding_is_idempotent(format: Format) -> Iterator[str]:
    """A rounded value is a rung: rounding it again, by any mode, does not move it."""
    once = _nearest(landmarks(format), format)
    yield from _differences("Value", once, _nearest(once, format), once)
    yield from _differences("Stochastically, value", once, _stochastic(once, format), once)


def rounding_is_monotone(format: Format) -> Iterator[str]:
    """A larger value never rounds to a smaller one."""
    x = landmarks(format).sort().values
    rounded = _nearest(x, format)
    for i in (rounded.diff() < 0).nonzero().flatten().tolist():
        yield f"{x[i : i + 2].tolist()} gave {rounded[i : i + 2].tolist()}."


def rounding_is_symmetric(format: Format) -> Iterator[str]:
    """Where the negative of every value is a value, and zero is one, -x rounds to the negative of what x rounds to."""
    if format.grid.is_symmetric and 0.0 in format.grid.values:
        x = landmarks(format)
        yield from _differences("Value", -x, _nearest(-x, format), -_nearest(x, format))


def overflow_saturates(format: Format) -> Iterator[str]:
    """Values beyond the ends of the grid, infinities too, go to the end, and each is counted as an overflow."""
    grid = format.grid
    high, low = torch.tensor([grid.highest, min(grid.lowest, 0.0)], dtype=torch.float32)
    above = torch.stack([torch.nextafter(high, torch.tensor(math.inf)), high * 2, torch.tensor(math.inf)])
    below = torch.stack([torch.nextafter(low, torch.tensor(-math.inf)), low * 2 - 1, torch.tensor(-math.inf)])
    for x, end in ((above, grid.highest), (below, grid.lowest)):
        for rounding in ("nearest-even", "stochastic"):
            got, tally = quantize(x, format, scale=torch.ones(()), rounding=rounding, overflow="saturate", key=KEY)
            yield from _differences(f"By {rounding}, value", x, got, torch.full_like(got, end))
            if tally is None or int(tally.overflow) != len(x):
                yield f"{x.tolist()} gave the tally {tally}, expected {len(x)} overflows."


def stochastic_stays_between_neighbours(format: Format) -> Iterator[str]:
    """Stochastic rounding goes to one of the two neighbours and never moves a value on the grid."""
    rungs = _rungs(format)
    parts = torch.rand(len(rungs) - 1, 3, generator=torch.Generator().manual_seed(KEY), dtype=torch.float64)
    between = (rungs[:-1, None] + parts * rungs.diff()[:, None]).flatten()
    x = torch.cat([landmarks(format), between.float()]).clamp(format.grid.lowest, format.grid.highest)
    low = rungs[(torch.searchsorted(rungs, x.double(), right=True) - 1)]
    high = rungs[torch.searchsorted(rungs, x.double())]
    got = _stochastic(x, format)
    yield from _differences("Value", x, got, torch.where(got == high, high, low))


def scale_moves_by_powers_of_two(format: Format) -> Iterator[str]:
    """Multiplying values and scale by a power of two multiplies the result by it, and changes no random choice."""
    x = landmarks(format).double()
    for power in (2.0**-5, 2.0**3):
        yield from _differences("Value", x, _nearest(x * power, format, scale=power), _nearest(x, format) * power)
        moved = _stochastic(x * power, format, scale=power)
        yield from _differences("Stochastically, value", x, moved, _stochastic(x, format) * power)


def nan_stays_nan(format: Format) -> Iterator[str]:
    """NaN stays NaN and is counted; it encodes to the lowest NaN code, or is refused where there is none."""
    x = torch.tensor([math.nan, 0.0, math.nan])
    got, tally = quantize(x, format, scale=torch.ones(()), overflow="saturate")
    if got.isnan().tolist() != [True, False, True] or tally is None or int(tally.nan) != 2:
        yield f"{x.tolist()} gave {got.tolist()} with the tally {tally}."
    try:
        code: int | None = int(encode(x[:1], format))
    except FormatError:
        code = None
    if code != format.nan_code:
        yield f"NaN encoded to {code}, expected {format.nan_code}."


def fast_path_equals_reference(format: Format) -> Iterator[str]:
    """Where a fast path takes the format, it gives the bits and the counts of the reference."""
    points = landmarks(format)
    if not kernels.supports(points, format):
        return
    generator = torch.Generator().manual_seed(KEY)
    noise = torch.randint(-(2**31), 2**31, (4096,), generator=generator).to(torch.int32).view(torch.float32)
    for scale in map(torch.tensor, (1.0, 2.0**-7, 2.0**9, 0.3, 1e-3, 2.0**-130)):
        x = torch.cat([points * scale, noise, torch.tensor([math.nan, math.inf, -math.inf])])
        for rounding, overflow in product(("nearest-even", "stochastic"), ("saturate", "specials")):
            how = {"scale": scale, "rounding": rounding, "overflow": overflow, "key": KEY}
            got, tally = kernels.quantize(x, format, **how)  # type: ignore[arg-type]
            expected, counted = reference.quantize(x, format, **how)  # type: ignore[arg-type]
            yield from _differences(f"With {how}, value", x, got, expected, bits=True)
            if [float(count) for count in tally] != [float(count) for count in counted]:
                yield f"With {how} it counted {tally}, expected {counted}."


def positions_number_the_rungs(format: Format) -> Iterator[str]:
    """The position of a rung is its number, and a value's nearest rung is the one rounding goes to."""
    geometry, rungs = Geometry.of(format), _rungs(format)
    numbers = torch.arange(geometry.lowest_rung, geometry.highest_rung + 1)
    yield from _differences("Rung", rungs, geometry.position(rungs.float()), numbers.double())
    x = landmarks(format)
    nearest = rungs[geometry.rung(x).long() - geometry.lowest_rung]
    yield from _differences("Value", x, nearest, _nearest(x, format).double())


def value_inverts_position(format: Format) -> Iterator[str]:
    """value(position(w)) is w, to a float32 ulp or 2 ** -40 of a cell, whichever is more."""
    x = landmarks(format)
    for geometry in (Geometry.of(format), Geometry.of(format, 0.3)):
        w = x * geometry.scale
        w = w[w.isfinite()]
        ulp = torch.nextafter(w.abs(), torch.tensor(math.inf)) - w.abs()
        back = geometry.value(geometry.position(w))
        slack = torch.maximum(ulp.double(), geometry.spacing(w).double() * 2.0**-40)
        near = (back.double() - w.double()).abs() <= slack * (1 if geometry.scale == 1 else 4)  # w / s rounds too
        yield from _differences(f"At scale {geometry.scale}, value", w, back, torch.where(near, back, w))


def spacing_is_the_cell(format: Format) -> Iterator[str]:
    """spacing(w) is the width of the cell that holds w, on a rung that of the cell away from zero, and positive."""
    rungs, gaps, geometry = _rungs(format), _rungs(format).diff(), Geometry.of(format)
    middles = ((rungs[1:] + rungs[:-1]) / 2).float()
    inside = (middles > rungs[:-1]) & (middles < rungs[1:])
    yield from _differences("Value", middles[inside], geometry.spacing(middles[inside]), gaps[inside].float())
    away = torch.where(rungs < 0, torch.cat([gaps[:1], gaps]), torch.cat([gaps, gaps[-1:]])).float()
    yield from _differences("Rung", rungs, geometry.spacing(rungs.float()), away)


def identity_changes_nothing(format: Format) -> Iterator[str]:
    """The identity returns every value as it came, counts nothing and has no codes."""
    x = torch.cat([landmarks(format), torch.tensor([math.nan, math.inf, -math.inf])])
    got, tally = quantize(x, format, scale=torch.ones(()), overflow="saturate")
    yield from _differences("Value", x, got, x, bits=True)
    if tally is not None:
        yield f"It counted {tally}."


BASIC_LAWS: tuple[Law, ...] = (name_is_plain, format_is_a_value, decode_gives_floats)
IDENTITY_LAWS: tuple[Law, ...] = (*BASIC_LAWS, facts_are_json, identity_changes_nothing)
LAWS: tuple[Law, ...] = (
    *BASIC_LAWS,
    values_fit,
    facts_are_json,
    fast_path_equals_reference,
    codes_round_trip,
    nearest_is_nearest,
    rounding_is_idempotent,
    rounding_is_monotone,
    rounding_is_symmetric,
    overflow_saturates,
    stochastic_stays_between_neighbours,
    scale_moves_by_powers_of_two,
    nan_stays_nan,
    positions_number_the_rungs,
    value_inverts_position,
    spacing_is_the_cell,
)


def _rungs(format: Format) -> Tensor:
    return torch.tensor(format.grid.values, dtype=torch.float64)


def _nearest(x: Tensor, format: Format, *, scale: float = 1.0) -> Tensor:
    return quantize(x, format, scale=torch.tensor(scale), overflow="saturate")[0]


def _stochastic(x: Tensor, format: Format, *, scale: float = 1.0) -> Tensor:
    return quantize(x, format, scale=torch.tensor(scale), rounding="stochastic", overflow="saturate", key=KEY)[0]


def _differences(what: str, x: Tensor, got: Tensor, expected: Tensor, *, bits: bool = False) -> Iterator[str]:
    """One sentence for each place where `got` is not `expected`; NaN equals NaN. `bits`: so must the sign of zero."""
    same = (got == expected) | (got.isnan() & expected.isnan())
    if bits:
        same &= got.isnan() | (got.signbit() == expected.signbit())
    for i in (~same).nonzero().flatten().tolist():
        yield f"{what} {x[i].item()!r} gave {got[i].item()!r}, expected {expected[i].item()!r}."

"""The laws of how a format rounds, in each mode."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from altgrad_core.errors import FormatError
from altgrad_core.numerics import backends
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.ops import encode, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.rounding import ROUNDINGS
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.numerics.tally import Quantized
from altgrad_core.testing.exact import differences, landmarks, round_exactly, rungs_of
from altgrad_core.testing.laws import Law

EXACT_SAMPLE = 20_000  # values judged in exact arithmetic; formats of up to 11 bits are tried at all their landmarks
KEY = 20_240_229  # names the random stream of the stochastic laws
MIRRORED = {
    "nearest-even": "nearest-even",
    "nearest-away": "nearest-away",
    "toward-zero": "toward-zero",
    "toward-positive": "toward-negative",
    "toward-negative": "toward-positive",
    "nearest-odd": "nearest-odd",
    "to-odd": "to-odd",
}


def each_mode_keeps_its_word(format: Format) -> Iterator[str]:
    """Nearest rounding goes to the nearest rung, a tie to the even one, counted from rung 0, or away from zero; each
    other mode but the stochastic goes to the next rung in its direction."""
    rungs = rungs_of(format)
    points = torch.cat([(rungs[1:] + rungs[:-1]) / 2, landmarks(format).double()])
    x = points[:: 1 + len(points) // EXACT_SAMPLE]
    for rounding in MIRRORED:
        expected = torch.tensor([round_exactly(value, format.grid, rounding) for value in x.tolist()]).double()
        yield from differences(f"By {rounding}, value", x, rounded(x, format, rounding), expected)


def rounding_is_idempotent(format: Format) -> Iterator[str]:
    """A rounded value is a rung: rounding it again, by any mode, does not move it."""
    once = torch.cat([rounded(landmarks(format), format, rounding) for rounding in ROUNDINGS]).unique()
    for rounding in ROUNDINGS:
        yield from differences(f"By {rounding}, value", once, rounded(once, format, rounding), once)


def rounding_is_monotone(format: Format) -> Iterator[str]:
    """A larger value never rounds to a smaller one, by any mode; by the stochastic, with the same random bits."""
    x = landmarks(format).sort().values
    for rounding in ROUNDINGS:  # the same element numbers twice, so the same random bits
        lower, higher = (rounded(values, format, rounding) for values in (x[:-1], x[1:]))
        for i in (lower > higher).nonzero().flatten().tolist():
            yield f"By {rounding}, {x[i : i + 2].tolist()} gave {[lower[i].item(), higher[i].item()]}."


def rounding_is_symmetric(format: Format) -> Iterator[str]:
    """Where the negative of every value is a value, and zero is one, -x rounds to the negative of what x rounds to, by
    toward-positive to the negative of what toward-negative gives."""
    if format.grid.is_symmetric and 0.0 in format.grid.values:
        x = landmarks(format)
        for rounding, mirrored in MIRRORED.items():
            expected = -rounded(x, format, mirrored)
            yield from differences(f"By {rounding}, value", -x, rounded(-x, format, rounding), expected)


def overflow_saturates(format: Format) -> Iterator[str]:
    """Values beyond the ends of the grid, infinities too, go to the end, and each is counted as an overflow."""
    grid = format.grid
    high, low = torch.tensor([grid.highest, min(grid.lowest, 0.0)], dtype=torch.float32)
    above = torch.stack([torch.nextafter(high, torch.tensor(math.inf)), high * 2, torch.tensor(math.inf)])
    below = torch.stack([torch.nextafter(low, torch.tensor(-math.inf)), low * 2 - 1, torch.tensor(-math.inf)])
    for (x, end), rounding in product(((above, grid.highest), (below, grid.lowest)), ROUNDINGS):
        got, _, tally = quantized(x, format, rounding)
        yield from differences(f"By {rounding}, value", x, got, torch.full_like(got, end))
        if tally is None or int(tally.overflow) != len(x):
            yield f"By {rounding}, {x.tolist()} gave the tally {tally}, expected {len(x)} overflows."


def stochastic_stays_between_neighbours(format: Format) -> Iterator[str]:
    """Stochastic rounding goes to one of the two neighbours and never moves a value on the grid."""
    rungs = rungs_of(format)
    parts = torch.rand(len(rungs) - 1, 3, generator=torch.Generator().manual_seed(KEY), dtype=torch.float64)
    between = (rungs[:-1, None] + parts * rungs.diff()[:, None]).flatten()
    x = torch.cat([landmarks(format), between.float()]).clamp(format.grid.lowest, format.grid.highest)
    low = rungs[(torch.searchsorted(rungs, x.double(), right=True) - 1)]
    high = rungs[torch.searchsorted(rungs, x.double())]
    got = rounded(x, format, "stochastic")
    yield from differences("Value", x, got, torch.where(got == high, high, low))


def scale_moves_by_powers_of_two(format: Format) -> Iterator[str]:
    """Multiplying values and scale by a power of two multiplies the result by it, and changes no random choice."""
    x = landmarks(format).double()
    for rounding in ROUNDINGS:
        here = rounded(x, format, rounding)
        for power in (2.0**-5, 2.0**3):
            there = rounded(x * power, format, rounding, scale=power)
            yield from differences(f"By {rounding}, value", x * power, there, here * power)


def nan_stays_nan(format: Format) -> Iterator[str]:
    """NaN stays NaN and is counted; it encodes to the lowest NaN code, or is refused where there is none."""
    x = torch.tensor([math.nan, 0.0, math.nan])
    for rounding in ROUNDINGS:
        got, _, tally = quantized(x, format, rounding)
        if got.isnan().tolist() != [True, False, True] or tally is None or int(tally.nan) != 2:
            yield f"By {rounding}, {x.tolist()} gave {got.tolist()} with the tally {tally}."
    try:
        code: int | None = int(encode(x[:1], format))
    except FormatError:
        code = None
    if code != format.nan_code:
        yield f"NaN encoded to {code}, expected {format.nan_code}."


def every_backend_equals_the_reference(format: Format) -> Iterator[str]:
    """Every backend gives the bits and the counts of the reference, for all that it says it supports."""
    generator = torch.Generator().manual_seed(KEY)
    noise = torch.randint(-(2**31), 2**31, (4096,), generator=generator).to(torch.int32).view(torch.float32)
    points = landmarks(format)
    points = points[:: 1 + len(points) // EXACT_SAMPLE]
    for rounding, overflow in product(ROUNDINGS, ("saturate", "specials")):
        how = Quantizer(format, rounding, "none", overflow)  # type: ignore[arg-type]
        for scale in map(torch.tensor, (1.0, 2.0**-7, 2.0**9, 0.3, 1e-3, 2.0**-130)):
            x = torch.cat([points * scale, noise, torch.tensor([math.nan, math.inf, -math.inf])])
            yield from _backends_differ(x, how, scale)
    for rounding, granularity in product(("nearest-even", "stochastic"), ("tensor", "row", "block:32", "tile:3x50")):
        how = Quantizer(format, rounding, Scaling(granularity=granularity))
        yield from _backends_differ(
            noise[:4081].view(7, 583), how, None
        )  # the last tiles of rows and columns are short


def _backends_differ(x: Tensor, how: Quantizer, scale: Tensor | None) -> Iterator[str]:
    case = Case("quantize", "cpu", x.dtype, True, (how.target,), how.rounding, how.nonfinite, how.tiling)
    *others, judge = [
        backend for name in backends.ORDER if (backend := backends.load(name)) is not None and backend.supports(case)
    ]
    for backend in others:
        got, expected = (one.quantize(x, how, scale=scale, key=KEY) for one in (backend, judge))
        message = f"With {how} at the scale {scale}"
        yield from differences(
            f"{message}, value", x.flatten(), got.values.flatten(), expected.values.flatten(), bits=True
        )
        if not torch.equal(got.scale, expected.scale):
            yield f"{message}, it took the scales {got.scale}, expected {expected.scale}."
        assert got.tally is not None and expected.tally is not None
        if [float(count) for count in got.tally] != [float(count) for count in expected.tally]:
            yield f"{message}, it counted {got.tally}, expected {expected.tally}."


def quantized(x: Tensor, format: Format, rounding: str = "nearest-even", *, scale: float = 1.0) -> Quantized:
    """What a quantizer makes of `x` at a given scale, saturating."""
    how = Quantizer(format, rounding, "none")
    return quantize(x, how, scale=torch.tensor(scale), key=KEY)


def rounded(x: Tensor, format: Format, rounding: str = "nearest-even", *, scale: float = 1.0) -> Tensor:
    """What `x` is rounded to, of its shape and type."""
    return quantized(x, format, rounding, scale=scale).values


ROUNDING_LAWS: tuple[Law, ...] = (
    every_backend_equals_the_reference,
    each_mode_keeps_its_word,
    rounding_is_idempotent,
    rounding_is_monotone,
    rounding_is_symmetric,
    overflow_saturates,
    stochastic_stays_between_neighbours,
    scale_moves_by_powers_of_two,
    nan_stays_nan,
)

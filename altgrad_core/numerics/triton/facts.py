"""What the Triton kernels need: constants of a format, of a rounding and of a rule for scales. Needs no Triton."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels.facts import NEVER, SMALLEST_NORMAL, arithmetic_facts
from altgrad_core.numerics.overflow import overflow_threshold, special_beyond
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.rounding import mode_of
from altgrad_core.numerics.scaling import E4M3, EXPONENT_LIMIT, Scaling
from altgrad_core.numerics.staircase import FLOOR, ordered, place_from

NAN = 0x7FC00000  # float32 bits
UNTAKEN = 0x7FFFFFFF  # a limit that no number reaches
COUNTS = 8  # int64 of one pass: bits of the amax, overflows, underflows, NaNs, infinities, whether any is not finite
ARITHMETIC = ("nearest-even", "nearest-away", "toward-zero", "toward-positive", "toward-negative")
TOWARDS = ("even", "odd", "away", "zero", "positive", "negative")


class Rounding(NamedTuple):
    """A format and a rounding, as constants of a kernel; bits are those of a float32 magnitude.

    Attributes:
        shift, low, largest, quantum, offset, is_bits, is_powers: see `kernels.facts.Arithmetic`; 0 where `is_table`.
        keeps_zero: whether the format has a -0.
        is_table: whether rungs are looked up instead of computed.
        mode: of `ARITHMETIC`; any where `is_table` or `random_bits`.
        random_bits: how many choose between two neighbours.
        rungs, depth: how many rungs, and steps of a binary search for one.
        origin: the index of rung 0.
        lowest, highest: places (see `staircase`) below and above which a value overflows.
        above, below: bits of what overflow becomes; 0 where it saturates.
        above_from, below_from: bits from which on it does; where no finite number does, `UNTAKEN`.
    """

    shift: int
    low: int
    largest: int
    quantum: float
    offset: int
    is_bits: bool
    is_powers: bool
    keeps_zero: bool
    is_table: bool
    mode: str
    random_bits: int
    rungs: int
    depth: int
    origin: int
    lowest: int
    highest: int
    above: int
    above_from: int
    below: int
    below_from: int


class Line(NamedTuple):
    """A line that weights walk on, as constants of a kernel: `shift` to `is_powers` as `Rounding` has them.

    Attributes:
        top: the number of the last rung.
        low_value, largest_value, second_value: the values at `low`, of the last rung and of the one before it.
    """

    shift: int
    low: int
    largest: int
    quantum: float
    offset: int
    is_bits: bool
    is_powers: bool
    top: int
    low_value: float
    largest_value: float
    second_value: float
    mode: str = "nearest-even"


class ScaleRule(NamedTuple):
    """How a scale is made, as constants of a kernel.

    Attributes:
        kind: `given`, `none`, `power`, `exact`, `two-level`.
        goes_up: whether scales round up.
        is_exact: whether the scales, of a tensor where there are two levels, are not rounded to powers of two.
        margin, limit: powers of two; see `Scaling`.
        largest: the format's largest magnitude; times 448 where there are two levels.
        own, exponent, significand: the format's largest magnitude, and float32 bits of `largest`.
        marks_lost: whether the scale of a tile that holds what is not finite is NaN.
    """

    kind: str
    goes_up: bool = False
    is_exact: bool = False
    margin: int = 0
    limit: int = EXPONENT_LIMIT
    largest: float = 1.0
    own: float = 1.0
    exponent: int = 127
    significand: int = 0
    marks_lost: bool = False


def knows(rounding: str) -> bool:
    """Whether the kernels have this mode."""
    return mode_of(rounding).toward in TOWARDS


@lru_cache(maxsize=512)
def rounding_of(format: Format, rounding: str, overflow: str) -> Rounding:
    """The constants of a format under one mode."""
    known, mode, grid = arithmetic_facts(format), mode_of(rounding), format.grid
    is_table = known is None or not (mode.random_bits or rounding in ARITHMETIC)
    above, above_from, below, below_from = (
        fact
        for sign in (1, -1)
        for fact in (_beyond(format, sign, rounding) if overflow == "specials" else (0, UNTAKEN))
    )
    return Rounding(
        shift=known.shift if known else 0,
        low=known.low if known else 0,
        largest=known.largest if known else 0,
        quantum=known.quantum if known else 0.0,
        offset=known.offset if known else 0,
        is_bits=known is not None and known.is_bits,
        is_powers=known is not None and known.is_powers,
        keeps_zero=grid.negative_zero is not None,
        is_table=is_table,
        mode=FLOOR if is_table and mode.random_bits else rounding,
        random_bits=mode.random_bits,
        rungs=len(grid),
        depth=(len(grid) - 1).bit_length(),
        origin=grid.origin,
        lowest=ordered(grid.lowest) if grid.lowest < 0 else ordered(-0.0),
        highest=ordered(grid.highest) if grid.highest > 0 else ordered(0.0),
        above=above,
        above_from=above_from,
        below=below,
        below_from=below_from,
    )


def _beyond(format: Format, sign: int, rounding: str) -> tuple[int, int]:
    """Bits of what overflow on one side becomes, and from which magnitude on; infinities do in any case."""
    special = special_beyond(format, sign)
    has_this_sign = sign * (format.grid.highest if sign > 0 else format.grid.lowest) > 0
    if special is None or (math.isnan(special) and not has_this_sign):
        return 0, UNTAKEN
    bits = NAN if math.isnan(special) else NEVER
    leaving = overflow_threshold(format, sign, rounding) if has_this_sign else None
    if leaving is None:
        return bits, UNTAKEN
    return bits, NEVER if leaving[0] >= 2.0**128 else min(place_from(Fraction(leaving[0]), itself=leaving[1]), NEVER)


@lru_cache(maxsize=256)
def line_of(format: Format) -> Line:
    """The constants of the rungs of a format whose grid is computed."""
    known = arithmetic_facts(format)
    assert known is not None, "ask `supports` first"
    low, positive = max(known.low, SMALLEST_NORMAL), format.grid.values[format.grid.origin :]
    return Line(
        *(known.shift, low, known.largest, known.quantum, known.offset, known.is_bits, known.is_powers, known.top_rung),
        low_value=struct.unpack("<f", struct.pack("<i", low))[0],
        largest_value=positive[-1],
        second_value=positive[-2],
    )


def rule_of(how: Quantizer, *, is_given: bool = False) -> ScaleRule:
    """The constants of how a quantizer's scales are made; `is_given`: they are there already."""
    return _rule_of(how.target, how.scale_rule, is_given, how.nonfinite == "block")


@lru_cache(maxsize=512)
def _rule_of(format: Format, rule: Scaling, is_given: bool, marks_lost: bool) -> ScaleRule:
    if is_given or rule.kind == "none":
        return ScaleRule("given" if is_given else "none", marks_lost=marks_lost)
    is_exact, has_levels = rule.rounding == "exact", rule.scale_format == "e4m3"
    largest = format.largest * (E4M3.largest if has_levels else 1.0)
    significand, exponent = math.frexp(largest)
    return ScaleRule(
        kind="two-level" if has_levels else "exact" if is_exact else "power",
        goes_up=rule.rounding == "up",
        is_exact=is_exact,
        margin=rule.margin,
        limit=rule.exponent_limit,
        largest=largest,
        own=format.largest,
        exponent=exponent - 1 + 127,
        significand=math.floor((2 * significand - 1) * 2**23),
        marks_lost=marks_lost,
    )

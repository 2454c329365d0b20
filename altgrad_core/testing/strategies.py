"""Hypothesis strategies for number formats, and for the values that find their bugs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import strategies as st

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.minifloat import Minifloat, Specials, Subnormals
from altgrad_core.testing.exact import landmarks

MOST_EXPONENT_BITS = 8  # one more and the values cannot fit in float32
MOST_TABLE_BITS = 6


@dataclass(frozen=True, eq=False)
class TableFormat(Format):
    """A format that is nothing but its table: `values[code]`, as many as a power of two.

    It equals itself alone: tables with 0.0 and with -0.0 would be equal, and are not the same format.
    """

    values: tuple[float, ...]
    name: str = "table"

    @property
    def bits(self) -> int:  # type: ignore[override]
        return (len(self.values) - 1).bit_length()

    def decode(self, code: int) -> float:
        return self.values[code]


def floats_near(format: Format, *, specials: bool = True) -> st.SearchStrategy[float]:
    """Float32 values, mostly where this format rounds: rungs, midpoints, their neighbours, the ends and beyond.

    Zeros of both signs and subnormal float32 are among them, and arbitrary float32 values too.

    Args:
        specials: whether infinities and NaN are among them.
    """
    points = landmarks(format)
    near = st.integers(0, len(points) - 1).map(lambda i: float(points[i]))
    within = st.floats(-format.largest, format.largest, width=32)
    anything = st.floats(width=32, allow_nan=specials, allow_infinity=specials)
    return st.one_of(near, within, anything)


@st.composite
def minifloats(draw: st.DrawFn, *, most_bits: int = 10) -> Minifloat:
    """Valid facts of a binary floating-point format of 2 to `most_bits` bits, with at least one positive value."""
    signed = draw(st.booleans())
    width = draw(st.integers(2, most_bits)) - signed
    exponent_bits = draw(st.integers(0, min(width, MOST_EXPONENT_BITS)))
    kinds: tuple[Subnormals, ...] = ("yes", "no", "none") if exponent_bits else ("yes",)
    subnormals = draw(st.sampled_from(kinds))
    has_minus_zero = signed and subnormals != "none"
    possible: dict[Specials, bool] = {
        "finite": True,
        "fn": True,
        "ieee": exponent_bits > 0,
        "fnuz": has_minus_zero,
        "p3109": has_minus_zero,
    }
    specials = draw(st.sampled_from([name for name, fits in possible.items() if fits]))
    mantissa_bits = width - exponent_bits
    lowest_bias, highest_bias = max(2**exponent_bits - 1, 1) - 127, 149 - mantissa_bits
    bias = draw(st.integers(lowest_bias, highest_bias))
    format = Minifloat(exponent_bits, mantissa_bits, bias, specials, subnormals, signed)
    return format if _has_a_positive_value(format) else Minifloat(2, 1, 1, signed=signed)


def tables(*, most_bits: int = MOST_TABLE_BITS) -> st.SearchStrategy[TableFormat]:
    """Formats of 1 to `most_bits` bits without any regularity: gaps of any size, duplicates, specials, one sign or two."""
    plain = st.integers(-16, 16).map(lambda number: number / 4)
    value = st.one_of(plain, st.floats(width=32), st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf]))
    sizes = st.integers(1, most_bits).map(lambda bits: 2**bits)
    lists = sizes.flatmap(lambda size: st.lists(value, min_size=size, max_size=size))
    return lists.map(lambda values: TableFormat(tuple(values))).filter(_has_a_positive_value)


def _has_a_positive_value(format: Format) -> bool:
    """Whether there is a grid at all, and a value above zero on it."""
    try:
        return format.grid.highest > 0
    except FormatError:
        return False

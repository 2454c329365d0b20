"""What a fast path must know of a format, as plain integers.

A format takes the arithmetic path when its positive rungs count like those of a floating-point number: rung k is k quanta
up to 2 ** M, and from there on every 2 ** M rungs the quantum doubles. All eXmY formats with a zero are of this kind.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import NamedTuple

from altgrad_core.numerics.format import Format

NEVER = 0x7F800000  # float32 bits of infinity: no finite magnitude reaches it
SMALLEST_NORMAL = 0x00800000  # float32 bits


class Arithmetic(NamedTuple):
    """What is known of one format on the arithmetic path; "bits" are those of a float32 magnitude.

    Attributes:
        shift: 23 - M: float32 bits between two rungs of a binade, as a power of two.
        low: bits of 2 ** M quanta, where the second binade begins; 0 where rungs are spaced like float32 itself.
        largest: bits of the last rung.
        top_rung: its number.
        offset: the number of a rung at or above `low` is (bits >> shift) - offset.
        quantum: the smallest positive value.
        keeps_negative_zero: whether there is a -0.
    """

    shift: int
    low: int
    largest: int
    top_rung: int
    offset: int
    quantum: float
    keeps_negative_zero: bool

    @property
    def is_bits(self) -> bool:
        """Whether every rung is a rung of float32 with its last bits cut off, subnormal ones too (bfloat16)."""
        return self.low == 0

    @property
    def is_powers(self) -> bool:
        """Whether there is no mantissa: neighbouring significands are then all odd, but rungs are not."""
        return self.shift == 23


@lru_cache(maxsize=256)
def arithmetic_facts(format: Format) -> Arithmetic | None:
    """The facts of `format`, or None where its grid is not of this kind, or too far out for float32 arithmetic."""
    grid, mantissa_bits = format.grid, format.mantissa_bits
    if mantissa_bits is None or not 0 <= mantissa_bits <= 16 or not grid.is_symmetric or 0.0 not in grid.values:
        return None
    positive = grid.values[grid.origin + 1 :]
    quantum, shift = positive[0], 23 - mantissa_bits
    if any(_rung_value(k, mantissa_bits, quantum) != value for k, value in enumerate(positive, start=1)):
        return None
    is_bits = all(float_bits(value) == k << shift for k, value in enumerate(positive, start=1))
    if not is_bits and not _has_room(positive[-1], quantum, mantissa_bits):
        return None
    low = 0 if is_bits else float_bits(quantum * 2.0**mantissa_bits)
    return Arithmetic(
        shift=shift,
        low=low,
        largest=float_bits(positive[-1]),
        top_rung=len(positive),
        offset=0 if is_bits else (low >> shift) - 2**mantissa_bits,
        quantum=quantum,
        keeps_negative_zero=grid.negative_zero is not None,
    )


def float_bits(value: float) -> int:
    """The bits of a float32."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])


def _rung_value(rung: int, mantissa_bits: int, quantum: float) -> float:
    """What the value of a rung must be on the arithmetic path."""
    binade = max((rung >> mantissa_bits) - 1, 0)
    return math.ldexp(rung - (binade << mantissa_bits), binade) * quantum


def _has_room(largest: float, quantum: float, mantissa_bits: int) -> bool:
    """Whether the numbers that rounding adds and subtracts are normal float32 numbers, and none underflows."""
    is_power = math.frexp(quantum)[0] == 0.5
    magic_exponent = math.frexp(max(largest, quantum * 2.0**mantissa_bits))[1] - 1 + 23 - mantissa_bits
    return is_power and 2.0**-124 <= quantum <= 2.0**100 and magic_exponent <= 126

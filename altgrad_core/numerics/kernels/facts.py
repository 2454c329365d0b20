"""What a fast path must know of a format, as plain integers and floats.

A format takes the arithmetic path when its positive rungs count up like the bits of a float32: code magnitude k is
k quanta in the lowest binade, and above it the float32 bits of the value are (k + offset) << shift.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import NamedTuple

from altgrad_core.numerics.format import Format

NEVER = 0x7F800000  # float32 bits of infinity: no finite magnitude reaches it
ROUND_TO_INTEGER = 1.5 * 2.0**23  # adding and subtracting it rounds a small float32 to an integer, ties to even


class Facts(NamedTuple):
    """Facts of one format on the arithmetic path; "bits" are those of a float32 magnitude."""

    shift: int  # 23 - mantissa bits: float32 bits per rung of a normal binade, as a power of two
    offset: int  # float32 bits >> shift, minus the rung, for every normal value
    normal_bits: int  # of the smallest normal value; NEVER where all rungs are evenly spaced
    largest_bits: int
    top_rung: int
    magic: float  # ROUND_TO_INTEGER quanta
    quantum: float
    last_gap: float
    keeps_negative_zero: bool


@lru_cache(maxsize=256)
def arithmetic_facts(format: Format) -> Facts | None:
    """The facts of `format`, or None where its grid is not of this kind: asymmetric, without zero, or irregular."""
    grid = format.grid
    mantissa_bits = format.mantissa_bits
    if mantissa_bits is None or not 0 <= mantissa_bits <= 22 or not grid.is_symmetric or 0.0 not in grid.values:
        return None
    positive = grid.values[grid.origin + 1 :]
    quantum = positive[0]
    is_normal = [k >> mantissa_bits > 0 and value != (k * quantum) for k, value in enumerate(positive, start=1)]
    first_normal = 2**mantissa_bits if any(is_normal) else None
    shift = 23 - mantissa_bits
    offset = (float_bits(positive[first_normal - 1]) >> shift) - first_normal if first_normal else 0
    facts = Facts(
        shift=shift,
        offset=offset,
        normal_bits=float_bits(positive[first_normal - 1]) if first_normal else NEVER,
        largest_bits=float_bits(grid.highest),
        top_rung=len(positive),
        magic=ROUND_TO_INTEGER * quantum,
        quantum=quantum,
        last_gap=positive[-1] - (positive[-2] if len(positive) > 1 else 0.0),
        keeps_negative_zero=grid.negative_zero is not None,
    )
    return facts if _describes(facts, positive) else None


def float_bits(value: float) -> int:
    """The bits of a float32."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])


def _describes(facts: Facts, positive: tuple[float, ...]) -> bool:
    """Whether the facts give back every positive rung; nothing is assumed of a format that can be checked."""
    if not (math.log2(facts.quantum).is_integer() and facts.magic < 2.0**127):
        return False
    if facts.normal_bits != NEVER:
        first_normal = (facts.normal_bits >> facts.shift) - facts.offset
        ends_evenly = float_bits(first_normal * facts.quantum) == facts.normal_bits  # else the cell below it is odd
        if facts.normal_bits < 0x00800000 or not ends_evenly:
            return False
    for rung, value in enumerate(positive, start=1):
        bits = (rung + facts.offset) << facts.shift
        told = bits if bits >= facts.normal_bits else float_bits(rung * facts.quantum)
        if told != float_bits(value):
            return False
    return True

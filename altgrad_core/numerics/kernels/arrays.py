"""What the kernels need of a format, as arrays; made once for each."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from altgrad_core.numerics.kernels import table
from altgrad_core.numerics.kernels.deterministic import GROWS
from altgrad_core.numerics.kernels.facts import NEVER, SMALLEST_NORMAL, Arithmetic, arithmetic_facts, float_bits
from altgrad_core.numerics.overflow import overflow_threshold, special_beyond
from altgrad_core.numerics.staircase import ordered

if TYPE_CHECKING:
    from altgrad_core.numerics.format import Format

Array = np.ndarray[Any, Any]
BINADE = 0x00800000  # float32 bits; no int32, whose sums could wrap around
FINITE = NEVER - 1  # the largest finite number
UNTAKEN = 0x7FFFFFFF  # a limit that no magnitude reaches, infinity neither: it is looked at apart


@lru_cache(maxsize=256)
def has_specials(format: Format) -> bool:
    """Whether anything lies beyond the ends of the grid."""
    return any(special_beyond(format, sign) is not None for sign in (1, -1))


@lru_cache(maxsize=256)
def has_plain_codes(format: Format) -> bool:
    """Whether the code of a rung is its number, with the top bit set below zero."""
    grid, sign = format.grid, 2 ** (format.bits - 1)
    numbers = range(-grid.origin, len(grid) - grid.origin)
    plain = tuple(n if n >= 0 else sign - n for n in numbers)
    return plain == grid.codes and grid.negative_zero in (None, sign)


def rounding_facts(format: Format, rounding: str, overflow: str) -> Array:
    """See `deterministic.rounds`."""
    facts = _known(format)
    limits, specials, special_codes = [], [], []
    for sign in (1, -1):
        special = special_beyond(format, sign) if overflow == "specials" else None
        limit = None if special is None else overflow_threshold(format, sign, rounding)
        limits.append(UNTAKEN if limit is None else _limit_bits(*limit))
        is_nan = special is None or math.isnan(special)
        specials.append(0x7FC00000 if is_nan else NEVER)
        special_codes.append((format.nan_code if is_nan else format.infinity_code(sign)) or 0)
    plain = (facts.low, facts.largest, facts.shift, *limits, *specials)
    codes = (facts.offset, format.bits - 1, format.nan_code or 0, *special_codes)
    return np.array([*plain, *codes, *GROWS.get(rounding, (0, 0))], np.int32)


def _limit_bits(threshold: float, itself: bool) -> int:
    return float_bits(threshold) + (not itself) if threshold < 2.0**128 else NEVER


def steps_facts(format: Format) -> Array:
    """See `table.rounds`."""
    grid = format.grid
    lowest = ordered(grid.lowest) if grid.lowest < 0 else ordered(-0.0)
    highest = ordered(grid.highest) if grid.highest > 0 else ordered(0.0)
    origin = grid.codes[grid.origin] if grid.values[grid.origin] == 0 else -1
    return np.array([lowest, highest, origin, grid.negative_zero or 0, format.nan_code or 0], np.int32)


def places(format: Format, rounding: str, payload: str) -> Array:
    """See `Steps.with_payload`."""
    result = table.steps_of(format, rounding)
    assert result is not None, "ask `supports` first"
    values = rung_values(format)
    payloads = {"codes": np.array(format.grid.codes), "rungs": np.arange(len(values)), "values": values.view(np.int32)}
    return result.with_payload(payloads[payload])


def rung_values(format: Format) -> Array:
    """The grid, float32."""
    return np.array(format.grid.values, np.float32)


@lru_cache(maxsize=256)
def walk_facts(format: Format) -> tuple[Array, np.float32]:
    """What walking along a format needs: `low` (at least the smallest normal float32) to `top_rung` of `Arithmetic`, a limit.

    The limit: bits of the last magnitude up to which float32 bits count rungs. And the quantum.
    """
    facts = _known(format)
    low = max(facts.low, SMALLEST_NORMAL)
    top_begins = facts.largest & -BINADE
    limit = facts.largest if facts.largest == top_begins else min(top_begins + BINADE, FINITE)
    array = [low, facts.largest, facts.shift, facts.offset, facts.top_rung, limit]
    return np.array(array, np.int32), np.float32(facts.quantum)


@lru_cache(maxsize=256)
def is_uniform(format: Format) -> bool:
    """Whether all rungs are spaced alike."""
    facts = _known(format)
    return facts.largest <= max(facts.low, SMALLEST_NORMAL) + BINADE


@lru_cache(maxsize=256)
def decode_table(format: Format) -> Array:
    """The value of every code, float32."""
    return np.array(format.table, np.float32)


def _known(format: Format) -> Arithmetic:
    facts = arithmetic_facts(format)
    assert facts is not None, "ask `supports` first"
    return facts

"""The laws of a number format, tried on every code and on the values where rounding goes wrong."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator

import torch

from altgrad_core.numerics.format import MOST_BITS, Format
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.ops import decode, encode
from altgrad_core.numerics.rounding import ROUNDINGS
from altgrad_core.testing.exact import differences, landmarks, rungs_of
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.rounding import KEY, ROUNDING_LAWS, quantized, rounded


def check_format(format: Format) -> None:
    """Try every law a registered format must keep; about a second for 8 bits, a few for 16.

    Raises:
        AssertionError: the first law that is broken: its text, the code or value, what came and what was expected.
    """
    who = f'format "{getattr(format, "name", type(format).__name__)}"'
    check_laws(who, IDENTITY_LAWS if format.is_identity else LAWS, format)


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
    """encode(decode(code)), by any mode, is the lowest code with the same value and the same sign of zero."""
    lowest: dict[str, int] = {}
    for code, value in enumerate(format.table):
        lowest.setdefault(repr(value), code)
    expected = torch.tensor([lowest[repr(value)] for value in format.table])
    codes = torch.arange(2**format.bits)
    values = decode(codes, format)
    for rounding in ROUNDINGS:
        got = encode(values, format, rounding=rounding, overflow="specials", key=KEY)
        yield from differences(f"By {rounding}, code", codes, got.to(torch.int64), expected)


def positions_number_the_rungs(format: Format) -> Iterator[str]:
    """The position of a rung is its number, and a value's nearest rung is the one rounding goes to."""
    geometry, rungs = Geometry.of(format), rungs_of(format)
    numbers = torch.arange(geometry.lowest_rung, geometry.highest_rung + 1)
    yield from differences("Rung", rungs, geometry.position(rungs.float()), numbers.double())
    x = landmarks(format)
    nearest = rungs[geometry.rung(x).long() - geometry.lowest_rung]
    yield from differences("Value", x, nearest, rounded(x, format).double())


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
        yield from differences(f"At scale {geometry.scale}, value", w, back, torch.where(near, back, w))


def spacing_is_the_cell(format: Format) -> Iterator[str]:
    """spacing(w) is the width of the cell that holds w, on a rung that of the cell away from zero, and positive."""
    rungs, gaps, geometry = rungs_of(format), rungs_of(format).diff(), Geometry.of(format)
    middles = ((rungs[1:] + rungs[:-1]) / 2).float()
    inside = (middles > rungs[:-1]) & (middles < rungs[1:])
    yield from differences("Value", middles[inside], geometry.spacing(middles[inside]), gaps[inside].float())
    away = torch.where(rungs < 0, torch.cat([gaps[:1], gaps]), torch.cat([gaps, gaps[-1:]])).float()
    yield from differences("Rung", rungs, geometry.spacing(rungs.float()), away)


def identity_changes_nothing(format: Format) -> Iterator[str]:
    """The identity returns every value as it came, counts nothing and has no codes."""
    x = torch.cat([landmarks(format), torch.tensor([math.nan, math.inf, -math.inf])])
    got, _, tally = quantized(x, format)
    yield from differences("Value", x, got, x, bits=True)
    if tally is not None:
        yield f"It counted {tally}."


BASIC_LAWS: tuple[Law, ...] = (name_is_plain, format_is_a_value, decode_gives_floats)
IDENTITY_LAWS: tuple[Law, ...] = (*BASIC_LAWS, facts_are_json, identity_changes_nothing)
LAWS: tuple[Law, ...] = (
    *BASIC_LAWS,
    values_fit,
    facts_are_json,
    *ROUNDING_LAWS,
    codes_round_trip,
    positions_number_the_rungs,
    value_inverts_position,
    spacing_is_the_cell,
)

"""The public laws of a format: any minifloat and any table keep them, and a broken format is told what it broke."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from altgrad_minifloat import altgrad_formats
from hypothesis import given, settings

from altgrad_core.numerics import backends
from altgrad_core.numerics.backends import reference
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.rounding import MODES, Mode
from altgrad_core.testing.formats import check_format
from altgrad_core.testing.strategies import TableFormat, minifloats, tables


@settings(max_examples=15, deadline=None)
@given(minifloats())
def test_every_minifloat_keeps_the_laws(format):
    check_format(format)


@settings(max_examples=20, deadline=None)
@given(tables())
def test_every_table_keeps_the_laws(format):
    check_format(format)


class LNS8(Format):
    name = "lns8"

    def decode(self, code: int) -> float:
        sign, power = -1.0 if code & 0x80 else 1.0, code & 0x7F
        return sign * 2.0 ** ((power - 64) / 8) if power else 0.0


def test_a_logarithmic_format_keeps_the_laws():
    check_format(LNS8())


class Shouting(LNS8):
    name = "LNS8"


class WholeNumbers(LNS8):
    def decode(self, code: int) -> int:
        return code


class Restless(LNS8):
    calls = 0

    def decode(self, code: int) -> float:
        self.calls += 1
        return float(self.calls)


class Secretive(LNS8):
    def facts(self):
        return {"name": "lns8"}


class Unwritable(LNS8):
    def facts(self):
        return {**super().facts(), "codes": {1, 2}}


class Wide(LNS8):
    bits = 17


class TooLarge(LNS8):
    def decode(self, code: int) -> float:
        return 2.0**code


@dataclass
class Unhashable(LNS8):
    base: float = 2.0


@pytest.mark.parametrize(
    ("format", "message"),
    [
        (
            Shouting(),
            'format "LNS8", law: A name is lower case, of letters, digits, "_", "." and "-", and begins with a letter '
            "or digit. This one is 'LNS8'.",
        ),
        (
            WholeNumbers(),
            'format "lns8", law: decode gives a float for every code, the same each time. Code 0 gave 0, a int.',
        ),
        (
            Restless(),
            'format "lns8", law: decode gives a float for every code, the same each time. Code 0 gave 1.0, then 2.0.',
        ),
        (
            Wide(),
            'format "lns8", law: decode gives a float for every code, the same each time. '
            "bits was 17, expected 1 to 16.",
        ),
        (
            Secretive(),
            'format "lns8", law: facts() is plain JSON data, the same each time, and holds the name and the bits. '
            "It was {'name': 'lns8'}, expected name 'lns8' and bits 8.",
        ),
        (
            Unwritable(),
            'format "lns8", law: facts() is plain JSON data, the same each time, and holds the name and the bits. '
            "It raised TypeError: Object of type set is not JSON serializable",
        ),
        (
            TooLarge(),
            'format "lns8", law: Every finite value fits in float32, two of them differ, one is positive. '
            'It raised FormatError: format "lns8": code 128 is 3.402823669209385e+38, outside the range of float32 '
            "(test_format_laws.py, line 80); use smaller values, or math.inf",
        ),
        (
            Unhashable(),
            'format "lns8", law: A format can be hashed and equals itself (make a dataclass frozen). '
            "It raised TypeError: unhashable type: 'Unhashable'",
        ),
        (
            TableFormat((0.0, -1.0), name="negative"),
            'format "negative", law: Every finite value fits in float32, two of them differ, one is positive. '
            "The highest was 0.0.",
        ),
    ],
)
def test_a_broken_format_is_told_which_law_and_where(format, message):
    with pytest.raises(AssertionError) as failure:
        check_format(format)
    assert str(failure.value) == message


E2M1 = next(format for format in altgrad_formats() if format.name == "e2m1")


def clipped_at_one(x, how, **options):
    done = reference.quantize(x, how, **options)
    return done._replace(values=done.values.clamp(max=1.0))


def counting_too_much(x, how, **options):
    done = reference.quantize(x, how, **options)
    return done._replace(tally=done.tally._replace(overflow=done.tally.overflow + 1))


def scaled_by_half(x, how, **options):
    done = reference.quantize(x, how, **options)
    return done._replace(scale=done.scale / 2)


@pytest.mark.parametrize(
    ("wrong", "breach"),
    [
        (clipped_at_one, r"value 1\.5 gave 1\.0, expected 1\.5"),
        (counting_too_much, r"it counted Tally\(.*\), expected Tally\("),
        (scaled_by_half, r"it took the scales 0\.5, expected 1\.0"),
    ],
)
def test_a_wrong_fast_path_is_found(wrong, breach, monkeypatch):
    monkeypatch.setattr(backends.load("numba"), "quantize", wrong)
    with pytest.raises(AssertionError, match="law: Every backend gives the bits.*" + breach):
        check_format(E2M1)


@pytest.mark.parametrize(
    ("rounding", "law"),
    [
        ("nearest-even", "Nearest rounding goes to the nearest rung"),
        ("nearest-away", "Nearest rounding goes to the nearest rung"),
        (
            "toward-zero",
            "Nearest rounding goes to the nearest rung.*By toward-zero, value -5.0 gave -6.0, expected -4.0",
        ),
        ("toward-positive", "Nearest rounding goes to the nearest rung"),
    ],
)
def test_a_wrong_mode_is_found(rounding, law, monkeypatch):
    monkeypatch.setattr(backends, "ORDER", ("reference",))
    monkeypatch.setitem(MODES, rounding, Mode("negative"))
    with pytest.raises(AssertionError, match=law):
        check_format(E2M1)

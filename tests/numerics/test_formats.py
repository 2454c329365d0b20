"""The registered formats: their facts by hand, all their codes against gfloat, ml_dtypes and torch."""

from __future__ import annotations

import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch
from altgrad_minifloat import altgrad_formats
from gfloat import decode_ndarray

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Float32, Format
from altgrad_core.numerics.minifloat import Minifloat

FORMATS = {format.name: format for format in altgrad_formats()}
MINIFLOATS = [format for format in FORMATS.values() if isinstance(format, Minifloat)]

BY_HAND = {  # name: (bias, largest finite, smallest positive)
    "e0m7": (1, 127 / 128, 1 / 128),
    "e1m6": (0, 3.96875, 1 / 32),
    "e2m5": (1, 7.875, 1 / 32),
    "e3m4": (1, 124.0, 1 / 16),
    "e4m3": (7, 448.0, 2.0**-9),
    "e5m2": (15, 57344.0, 2.0**-16),
    "e6m1": (31, 1.5 * 2.0**32, 2.0**-31),
    "e7m0": (63, 2.0**64, 2.0**-62),
    "e3m4-ieee": (3, 15.5, 2.0**-6),
    "e4m3-ieee": (7, 240.0, 2.0**-9),
    "e4m3-fnuz": (8, 240.0, 2.0**-10),
    "e5m2-fnuz": (16, 57344.0, 2.0**-17),
    "e8m0": (127, 2.0**127, 2.0**-127),
    "e2m1": (1, 6.0, 0.5),
    "e2m3": (1, 7.5, 0.125),
    "e3m2": (3, 28.0, 0.0625),
    "bf16": (127, 255 * 2.0**120, 2.0**-133),
    "fp16": (15, 65504.0, 2.0**-24),
    "binary8p1": (64, 2.0**62, 2.0**-63),
    "binary8p2": (32, 2.0**31, 2.0**-32),
    "binary8p3": (16, 49152.0, 2.0**-17),
    "binary8p4": (8, 224.0, 2.0**-10),
    "binary8p5": (4, 15.0, 2.0**-7),
    "binary8p6": (2, 3.875, 2.0**-6),
    "binary8p7": (1, 63 / 32, 2.0**-6),
}
ML_DTYPES = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e3m4-ieee": ml_dtypes.float8_e3m4,
    "e4m3-ieee": ml_dtypes.float8_e4m3,
    "e4m3-fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2-fnuz": ml_dtypes.float8_e5m2fnuz,
    "e8m0": ml_dtypes.float8_e8m0fnu,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
}


def by_name(format: Format) -> str:
    return format.name


def assert_same_floats(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal values, NaN where NaN, zeros of the same sign."""
    np.testing.assert_array_equal(got, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(expected[numbers]))


def test_every_registered_format_has_its_facts_written_here_by_hand():
    assert [*BY_HAND, "fp32"] == list(FORMATS)


@pytest.mark.parametrize("name", BY_HAND)
def test_bias_largest_and_smallest_are_those_of_the_definition(name):
    format = FORMATS[name]
    assert (format.bias, format.largest, format.smallest_positive) == BY_HAND[name]


def test_single_codes_have_the_values_one_knows():
    assert FORMATS["e5m2"].decode(60) == 1.0
    assert FORMATS["e4m3"].decode(0b0_0111_000) == 1.0
    assert FORMATS["e4m3"].decode(0b0_1111_110) == 448.0
    assert math.isnan(FORMATS["e4m3"].decode(0x7F)) and math.isnan(FORMATS["e4m3"].decode(0xFF))
    assert FORMATS["e5m2"].decode(0x7C) == math.inf and FORMATS["e5m2"].decode(0xFC) == -math.inf
    assert math.isnan(FORMATS["e4m3-fnuz"].decode(0x80)) and FORMATS["e4m3-fnuz"].decode(0xFF) == -240.0
    assert FORMATS["e8m0"].decode(0) == 2.0**-127 and FORMATS["e8m0"].decode(127) == 1.0
    assert math.isnan(FORMATS["e8m0"].decode(255))


def test_e7m0_is_two_zeros_and_powers_of_two():
    table = FORMATS["e7m0"].table
    assert (table[0], math.copysign(1, table[0]), table[128], math.copysign(1, table[128])) == (0, 1, 0, -1)
    assert {math.frexp(abs(value))[0] for code, value in enumerate(table) if code not in (0, 128)} == {0.5}


def test_e0m7_is_fixed_point():
    assert FORMATS["e0m7"].table == tuple(m / 128 for m in range(128)) + tuple(-m / 128 for m in range(128))


def test_e1m6_is_e0m7_times_four_code_by_code():
    assert FORMATS["e1m6"].table == tuple(4 * value for value in FORMATS["e0m7"].table)


@pytest.mark.parametrize("precision", range(1, 8))
def test_p3109_has_nan_at_minus_zero_and_infinities_at_the_largest_magnitudes(precision):
    table = FORMATS[f"binary8p{precision}"].table
    specials = {code: value for code, value in enumerate(table) if not math.isfinite(value)}
    assert list(specials) == [0x7F, 0x80, 0xFF]
    assert specials[0x7F] == math.inf and math.isnan(specials[0x80]) and specials[0xFF] == -math.inf


@pytest.mark.parametrize("specials", ["fnuz", "p3109"])
def test_a_format_without_minus_zero_has_none_where_subnormals_are_zero(specials):
    format = Minifloat(4, 3, specials=specials, subnormals="no")
    zeros = [value for value in format.table if value == 0]
    assert len(zeros) == 8 + 7 and all(math.copysign(1, value) == 1 for value in zeros)  # 0x00 to 0x07, 0x81 to 0x87
    assert format.grid.negative_zero is None and math.isnan(format.table[0x80])


@pytest.mark.parametrize("format", MINIFLOATS, ids=by_name)
def test_every_code_decodes_as_gfloat_has_it(format, gfloat_info):
    expected = decode_ndarray(gfloat_info(format), np.arange(2**format.bits))
    assert_same_floats(np.array(format.table), expected)


@pytest.mark.parametrize("name", ML_DTYPES)
def test_every_code_decodes_as_ml_dtypes_has_it(name):
    format = FORMATS[name]
    expected = np.arange(2**format.bits, dtype=np.uint8).view(ML_DTYPES[name]).astype(np.float64)
    assert_same_floats(np.array(format.table), expected)


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_all_65536_codes_of_the_two_byte_formats_are_those_of_torch(name, dtype):
    expected = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype).double().numpy()
    assert_same_floats(np.array(FORMATS[name].table), expected)


def test_fp32_is_the_identity_without_a_table():
    fp32 = FORMATS["fp32"]
    assert isinstance(fp32, Float32) and fp32.is_identity
    assert (fp32.largest, fp32.smallest_positive) == (float(np.finfo(np.float32).max), 2.0**-149)
    assert fp32.decode(0x3F800000) == 1.0
    with pytest.raises(FormatError) as refusal:
        _ = fp32.table
    assert str(refusal.value) == 'format "fp32" is the identity: it has no grid'


def test_the_plugin_loads_without_torch_and_builds_no_table():
    code = (
        "import sys, altgrad_minifloat; formats = list(altgrad_minifloat.altgrad_formats());"
        "assert not {'torch', 'numpy', 'numba'} & set(sys.modules);"
        "assert not any('table' in vars(format) for format in formats)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_minifloat_without_a_name_is_named_by_its_facts():
    assert Minifloat(4, 3, bias=8).name == "e4m3b8-finite"
    assert Minifloat(4, 3, bias=-2, subnormals="no", signed=False).name == "e4m3bn2-finite-sub-no-unsigned"


def test_the_default_bias_is_the_ieee_one():
    assert [Minifloat(bits, 2).bias for bits in range(5)] == [1, 0, 1, 3, 7]


def test_a_name_is_lower_case():
    assert Minifloat(4, 3, name="My-E4M3").name == "my-e4m3"


def test_two_formats_of_the_same_numbers_have_one_digest():
    assert Minifloat(4, 3, specials="fn", name="mine").digest == FORMATS["e4m3"].digest
    assert FORMATS["e4m3"].digest != FORMATS["e4m3-ieee"].digest


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"exponent_bits": 8, "mantissa_bits": 8},
            "a format of 8 exponent and 8 mantissa bits has 17 bits in all; 2 to 16 are possible",
        ),
        (
            {"exponent_bits": 8, "mantissa_bits": 3, "name": "wide"},
            'format "wide": its values, from 2**-129 to below 2**129, do not fit in float32 (2**-149 to below 2**128)',
        ),
        (
            {"exponent_bits": 0, "mantissa_bits": 7, "subnormals": "no"},
            'format "e0m7b1-finite-sub-no": without exponent bits only subnormals = "yes" and specials other than '
            '"ieee" make sense',
        ),
        (
            {"exponent_bits": 4, "mantissa_bits": 3, "specials": "fnuz", "signed": False},
            'format "e4m3b7-fnuz-unsigned": specials = "fnuz" puts NaN at the code of -0, so the format must be signed '
            "and have a zero",
        ),
        (
            {"exponent_bits": -1, "mantissa_bits": 7, "bias": 1},
            "a format of -1 exponent and 7 mantissa bits has 7 bits in all; 2 to 16 are possible",
        ),
    ],
)
def test_facts_that_contradict_each_other_are_refused(facts, message):
    with pytest.raises(FormatError) as refusal:
        Minifloat(**facts)
    assert str(refusal.value) == message


class Broken(Format):
    name = "broken"
    bits = 2

    def __init__(self, *values):
        self.values = values

    def decode(self, code):
        return self.values[code]


PLACE = f"(test_formats.py, line {Broken.decode.__code__.co_firstlineno})"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            (0.0, 1e39, 1.0, 2.0),
            'format "broken": code 1 is 1e+39, outside the range of float32 PLACE; use smaller values, or math.inf',
        ),
        ((0.0, "1", 1.0, 2.0), "format \"broken\": decode(1) returned '1', expected a float PLACE"),
        (
            (0.0, -0.0, math.nan, math.inf),
            'format "broken": a format needs at least two distinct finite values, this table has 1 PLACE',
        ),
    ],
)
def test_a_table_that_is_no_format_is_refused(values, message):
    with pytest.raises(FormatError) as refusal:
        _ = Broken(*values).grid
    assert str(refusal.value) == message.replace("PLACE", PLACE)


def test_values_are_rounded_to_float32_once():
    assert Broken(0.0, 0.1, 0.2, 0.3).table == tuple(float(np.float32(value)) for value in (0.0, 0.1, 0.2, 0.3))


def test_both_zeros_are_one_rung_with_the_lowest_code():
    grid = FORMATS["e4m3"].grid
    assert len(grid) == 253 and grid.values[grid.origin] == 0.0 and math.copysign(1, grid.values[grid.origin]) == 1
    assert (grid.codes[grid.origin], grid.negative_zero) == (0, 0x80)


def test_a_grid_without_zero_counts_from_its_lowest_value():
    assert (FORMATS["e8m0"].grid.origin, FORMATS["e8m0"].grid.lowest) == (0, 2.0**-127)

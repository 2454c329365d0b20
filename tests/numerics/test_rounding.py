"""Rounding in every mode, against gfloat and ml_dtypes; nearest rounding and overflow by hand."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from altgrad_minifloat import altgrad_formats
from gfloat import RoundMode, round_ndarray

from altgrad_core.errors import FormatError
from altgrad_core.numerics.ops import encode, fake_quantize, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.testing.exact import landmarks

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
SPLITS = ["e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0"]
MODES = {
    "nearest-even": RoundMode.TiesToEven,
    "nearest-away": RoundMode.TiesToAway,
    "toward-zero": RoundMode.TowardZero,
    "toward-positive": RoundMode.TowardPositive,
    "toward-negative": RoundMode.TowardNegative,
}
ML_DTYPES = {  # not e8m0: ml_dtypes takes every power of two for even, and its subnormal values round up
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e3m4-ieee": ml_dtypes.float8_e3m4,
    "e4m3-ieee": ml_dtypes.float8_e4m3,
    "e4m3-fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2-fnuz": ml_dtypes.float8_e5m2fnuz,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
}
SAMPLE = 20_000
BFLOAT16 = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16).float()


def rounded(values, name, *, rounding="nearest-even", overflow="saturate"):
    """The list of what float32 `values` round to."""
    return fake_quantize(torch.tensor(values), FORMATS[name], rounding=rounding, overflow=overflow).tolist()


def assert_same_floats(got, expected):
    """Equal values, NaN where NaN, zeros of the same sign."""
    np.testing.assert_array_equal(got, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(expected[numbers]))


def assert_rounds_as_gfloat(x, format, info, *, rounding, saturates):
    """`x` rounds to the very floats, signs of zero among them, that gfloat rounds it to."""
    how = Quantizer(format, rounding, "none", "saturate" if saturates else "specials")
    got = quantize(x, how).values.double().numpy()
    assert_same_floats(got, round_ndarray(info, x.double().numpy(), MODES[rounding], sat=saturates))


@pytest.mark.parametrize("rounding", MODES)
@pytest.mark.parametrize("name", FORMATS)
def test_all_codes_midpoints_and_their_neighbours_round_as_gfloat_has_it(name, rounding, gfloat_info):
    format = FORMATS[name]
    x = torch.cat([landmarks(format), torch.tensor([math.inf, -math.inf, math.nan])])
    x = x if format.signed else x[~(x < format.grid.lowest)]  # gfloat leaves an unsigned format below its lowest value
    x = x[:: 1 + len(x) // SAMPLE] if rounding != "nearest-even" else x
    assert_rounds_as_gfloat(x, format, gfloat_info(format), rounding=rounding, saturates=True)
    if format.specials != "finite":
        assert_rounds_as_gfloat(x, format, gfloat_info(format), rounding=rounding, saturates=False)


@pytest.mark.parametrize("rounding", MODES)
@pytest.mark.parametrize("name", SPLITS)
def test_all_65536_bfloat16_inputs_round_as_gfloat_has_it(name, rounding, gfloat_info):
    assert_rounds_as_gfloat(BFLOAT16, FORMATS[name], gfloat_info(FORMATS[name]), rounding=rounding, saturates=True)


@pytest.mark.parametrize("name", ML_DTYPES)
def test_values_in_range_round_as_ml_dtypes_has_it(name):
    format = FORMATS[name]
    x = torch.cat([landmarks(format), BFLOAT16])
    x = x[(x >= format.grid.lowest) & (x <= format.grid.highest)]
    got = fake_quantize(x, format).double().numpy()
    assert_same_floats(got, x.numpy().astype(ML_DTYPES[name]).astype(np.float64))


def test_a_tie_goes_to_the_even_code():
    assert rounded([17.0, 19.0, -17.0, -19.0, 2.0**-10, 3 * 2.0**-10], "e4m3") == [16, 20, -16, -20, 0, 2.0**-8]


def test_a_tie_of_e7m0_goes_to_the_even_code_not_always_up():
    # 1.0 is code 63, 2.0 is code 64, 4.0 is code 65; zero is code 0, 2 ** -62 is code 1.
    assert rounded([1.5, 3.0, -1.5, -3.0, 2.0**-63, 3 * 2.0**-63], "e7m0") == [2, 2, -2, -2, 0, 2.0**-61]


def test_a_tie_goes_away_from_zero_when_asked():
    ties = [17.0, 19.0, -17.0, -19.0, 2.0**-10, -(2.0**-10)]
    assert rounded(ties, "e4m3", rounding="nearest-away") == [18, 20, -18, -20, 2.0**-9, -(2.0**-9)]
    assert rounded([1.5, 3.0, -1.5, -3.0, 2.0**-63], "e7m0", rounding="nearest-away") == [2, 4, -2, -4, 2.0**-62]
    assert rounded([16.99, 18.99, -18.99], "e4m3", rounding="nearest-away") == [16, 18, -18]


@pytest.mark.parametrize("name", [name for name in SPLITS if name not in ("e0m7", "e7m0")])
def test_just_below_the_smallest_normal_rounds_up_to_it(name):
    format = FORMATS[name]
    normal, gap = format.quantum * 2**format.mantissa_bits, format.quantum
    assert rounded([normal - gap / 4, gap / 4 - normal, normal - 3 * gap / 4], name) == [normal, -normal, normal - gap]


def test_values_too_large_saturate_whatever_the_frameworks_do():
    assert rounded([500.0, -1e9, math.inf, -math.inf], "e4m3") == [448, -448, 448, -448]
    assert rounded([70000.0, -math.inf], "e5m2") == [57344, -57344]


def test_values_too_large_become_the_format_s_specials_when_asked():
    assert rounded([70000.0, -70000.0, math.inf], "e5m2", overflow="specials") == [math.inf, -math.inf, math.inf]
    assert all(map(math.isnan, rounded([500.0, -500.0, math.inf], "e4m3", overflow="specials")))
    assert all(map(math.isnan, rounded([300.0, -math.inf], "e4m3-fnuz", overflow="specials")))
    assert rounded([1000.0, -math.inf], "e3m4", overflow="specials") == [124.0, -124.0]


def test_overflow_begins_half_a_gap_above_the_largest_and_the_tie_follows_the_even_rule():
    assert rounded([464.0], "e4m3", overflow="specials") == [448.0]  # rung 126 is even: the tie stays
    assert math.isnan(rounded([float(np.nextafter(np.float32(464), np.float32(500)))], "e4m3", overflow="specials")[0])
    below = float(np.nextafter(np.float32(61440), np.float32(0)))
    assert rounded([61440.0, below], "e5m2", overflow="specials") == [math.inf, 57344.0]  # rung 123 is odd: it leaves


def test_when_ties_go_away_from_zero_the_tie_beyond_the_largest_leaves():
    assert math.isnan(rounded([464.0], "e4m3", rounding="nearest-away", overflow="specials")[0])
    below = float(np.nextafter(np.float32(464), np.float32(0)))
    assert rounded([below, -below], "e4m3", rounding="nearest-away", overflow="specials") == [448.0, -448.0]


def test_above_a_power_of_two_at_the_top_the_gap_is_that_of_its_own_binade():
    # The largest of binary8p1 is 2 ** 62 and the next rung would be 2 ** 63, half-way 1.5 * 2 ** 62.
    assert rounded([1.49 * 2.0**62, 1.51 * 2.0**62], "binary8p1", overflow="specials") == [2.0**62, math.inf]
    # The largest of binary8p2 is 2 ** 31 and the next rung would be 1.5 * 2 ** 31.
    assert rounded([1.24 * 2.0**31, 1.26 * 2.0**31], "binary8p2", overflow="specials") == [2.0**31, math.inf]


def test_negative_values_go_to_the_lowest_of_an_unsigned_format_and_are_counted():
    x = torch.tensor([-1.0, -math.inf, -1e-40, 1.0, 0.0])
    for overflow in ("saturate", "specials"):
        got, _, tally = quantize(x, Quantizer(FORMATS["e8m0"], scaling="none", overflow=overflow))
        assert got.tolist() == [2.0**-127, 2.0**-127, 2.0**-127, 1.0, 2.0**-127]
        assert int(tally.overflow) == 3


def test_the_sign_of_zero_is_kept_where_there_is_a_minus_zero():
    zeros = torch.tensor([0.0, -0.0, 1e-30, -1e-30])
    assert [math.copysign(1, value) for value in fake_quantize(zeros, FORMATS["e4m3"]).tolist()] == [1, -1, 1, -1]
    assert [math.copysign(1, value) for value in fake_quantize(zeros, FORMATS["e4m3-fnuz"]).tolist()] == [1, 1, 1, 1]
    assert encode(zeros, FORMATS["e4m3"]).tolist() == [0, 0x80, 0, 0x80]


def test_the_tally_counts_each_kind_once():
    x = torch.tensor([0.0, 1.0, 500.0, -500.0, math.inf, -math.inf, math.nan, 1e-9, -1e-9])
    tally = quantize(x, Quantizer(FORMATS["e4m3"], scaling="none")).tally
    counts = [int(tally.overflow), int(tally.underflow), int(tally.nan), int(tally.infinite)]
    assert (tally.elements, float(tally.amax), counts) == (9, 500.0, [4, 2, 1, 2])


def test_an_unknown_rounding_is_refused_with_those_that_exist():
    with pytest.raises(FormatError) as refusal:
        fake_quantize(torch.zeros(1), FORMATS["e4m3"], rounding="up")
    assert str(refusal.value) == (
        'no rounding "up"; one of nearest-even, nearest-away, toward-zero, toward-positive, toward-negative, '
        "stochastic, nearest-odd, to-odd, or stochastic:N with N random bits, 1 to 23"
    )

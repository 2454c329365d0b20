"""Modes that no kernel has: round to odd by gfloat's neighbours, ties to odd by hand, a few random bits by exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from altgrad_minifloat import altgrad_formats
from gfloat import RoundMode, round_ndarray
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core.errors import FormatError
from altgrad_core.numerics.ops import fake_quantize
from altgrad_core.numerics.random import philox_words
from altgrad_core.numerics.rounding import mode_of
from altgrad_core.testing.exact import landmarks

FORMATS = {format.name: format for format in altgrad_formats()}


@pytest.mark.parametrize("name", ["e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e2m1", "e4m3-fnuz", "binary8p3"])
def test_round_to_odd_goes_to_the_one_of_gfloats_neighbours_whose_code_is_odd(name, gfloat_info):
    format = FORMATS[name]
    x = landmarks(format).clamp(format.grid.lowest, format.grid.highest)
    modes = (RoundMode.TowardNegative, RoundMode.TowardPositive)
    below, above = (round_ndarray(gfloat_info(format), x.double().numpy(), mode, sat=True) for mode in modes)
    code_of = {value: code for code, value in enumerate(format.table)}
    expected = [a if code_of[a] % 2 or a == b else b for a, b in zip(below.tolist(), above.tolist(), strict=True)]
    got = fake_quantize(x, format, rounding="to-odd").double().numpy()
    np.testing.assert_array_equal(got, expected)


def test_a_tie_goes_to_the_odd_rung_and_all_else_to_the_nearest():
    x = torch.tensor([17.0, 19.0, -17.0, 16.9, 17.1, 18.0, 1e9])  # among 16 (even), 18 (odd) and 20
    assert fake_quantize(x, FORMATS["e4m3"], rounding="nearest-odd").tolist() == [18, 18, -18, 16, 18, 18, 448]
    assert fake_quantize(x, FORMATS["e4m3"], rounding="to-odd").tolist() == [18, 18, -18, 18, 18, 18, 448]


@pytest.mark.parametrize(("rounding", "beyond"), [("nearest-odd", 61440.0), ("to-odd", 57344.0)])
def test_beyond_the_largest_value_an_odd_mode_goes_where_the_next_rung_would_be(rounding, beyond):
    options = {"rounding": rounding, "overflow": "specials"}
    x = torch.tensor([beyond, beyond + 4096, -beyond - 4096, 57344.0])  # 57344 is rung 123, odd: nothing prefers 124
    largest = (
        [57344.0, math.inf, -math.inf, 57344.0] if rounding == "nearest-odd" else [57344.0, 57344.0, -57344.0, 57344.0]
    )
    assert fake_quantize(x, FORMATS["e5m2"], **options).tolist() == largest


@settings(max_examples=60, deadline=None)
@given(bits=st.integers(1, 23), low=st.integers(-120, 119), part=st.integers(0, 2**16), key=st.integers(0, 2**63 - 1))
def test_few_bits_go_away_from_zero_where_the_bits_and_the_position_in_as_many_bits_make_a_whole(bits, low, part, key):
    format, count = FORMATS["e4m3"], 40
    values = format.grid.values[format.grid.origin + low :][:2]
    x = float(np.float32(values[0] + (values[1] - values[0]) * part / 2**16))
    inner, outer = sorted(values, key=abs)
    r = (Fraction(x) - Fraction(inner)) / (Fraction(outer) - Fraction(inner))
    words = (philox_words(key, count) >> (32 - bits)).tolist()
    expected = [outer if k + math.floor(r * 2**bits) >= 2**bits else inner for k in words]
    got = fake_quantize(torch.full((count,), x), format, rounding=f"stochastic:{bits}", key=key)
    assert got.tolist() == expected


@pytest.mark.parametrize("bits", [1, 2, 5])
@pytest.mark.parametrize("name", ["e1m6", "e3m4", "e4m3", "e5m2", "e2m1", "e4m3-fnuz"])
def test_few_bits_are_those_of_gfloat_for_every_word(bits, name, gfloat_info, either_path):
    format, words = FORMATS[name], (philox_words(9, 64) >> (32 - bits)).numpy()
    x = landmarks(format).clamp(format.grid.lowest, format.grid.highest)
    for start in range(0, len(x), 64):
        part = x[start : start + 64]
        got = fake_quantize(part, format, rounding=f"stochastic:{bits}", key=9)
        own = words[: len(part)]
        mode = RoundMode.StochasticFastest
        expected = round_ndarray(gfloat_info(format), part.double().numpy(), mode, sat=True, srbits=own, srnumbits=bits)
        assert torch.equal(got, torch.from_numpy(np.asarray(expected, np.float32)))


def test_few_bits_treat_both_signs_alike():
    x = torch.linspace(0.01, 400, 5000)
    above, below = (fake_quantize(sign * x, FORMATS["e4m3"], rounding="stochastic:3", key=5) for sign in (1, -1))
    assert torch.equal(above, -below)


def test_many_random_bits_are_the_stochastic_mode_and_one_bit_is_a_coin_from_the_middle_on():
    x = torch.full((4000,), 16.5)
    assert set(fake_quantize(x, FORMATS["e4m3"], rounding="stochastic:1", key=1).tolist()) == {16.0}
    halves = fake_quantize(x + 0.5, FORMATS["e4m3"], rounding="stochastic:1", key=1).eq(18.0).float().mean().item()
    assert abs(halves - 0.5) < 0.05
    assert mode_of("stochastic").random_bits == 24


@pytest.mark.parametrize("rounding", ["stochastic:0", "stochastic:24", "stochastic:", "stochastic:4 ", "stochastic:04"])
def test_a_number_of_bits_that_cannot_be_is_refused(rounding):
    with pytest.raises(FormatError, match="or stochastic:N with N random bits, 1 to 23"):
        fake_quantize(torch.ones(1), FORMATS["e4m3"], rounding=rounding, key=1)


def test_a_few_random_bits_need_a_key_too():
    with pytest.raises(FormatError, match="stochastic rounding needs a key"):
        fake_quantize(torch.ones(1), FORMATS["e4m3"], rounding="stochastic:4")

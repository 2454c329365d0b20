"""Directed rounding by hand, and every mode against exact fractions: all 16-bit inputs, and tables of any shape."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
import torch
from altgrad_minifloat import altgrad_formats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.ops import fake_quantize, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.testing.exact import round_exactly
from altgrad_core.testing.strategies import TableFormat, floats_near, minifloats, tables

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
FIXED = ["nearest-even", "nearest-away", "toward-zero", "toward-positive", "toward-negative"]  # no random bits
DIRECTED = FIXED[2:]
LOPSIDED = TableFormat((-2.0, -0.5, 0.0, 0.25, 3.0, 4.0, 4.0, math.nan), name="lopsided")
NO_ZERO = Minifloat(2, 1, 1, subnormals="none", name="no-zero")  # +-0.5, +-0.75, +-1 ... +-6
INLINE = Minifloat(4, 3, bias=8, name="inline")
TINY = 2.0**-149


def rounded(values, format, rounding, *, overflow="saturate"):
    """The list of what float32 `values` round to."""
    return fake_quantize(torch.tensor(values), format, rounding=rounding, overflow=overflow).tolist()


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("toward-zero", [16.0, -16.0, 16.0, 0.0, -0.0, 0.4375, 416.0]),
        ("toward-positive", [18.0, -16.0, 16.0, 2.0**-9, -0.0, 0.46875, 448.0]),
        ("toward-negative", [16.0, -18.0, 16.0, 0.0, -(2.0**-9), 0.4375, 416.0]),
    ],
)
def test_a_directed_mode_goes_to_the_next_value_in_its_direction(rounding, expected):
    got = rounded([17.9, -17.9, 16.0, TINY, -TINY, 0.45, 447.999], FORMATS["e4m3"], rounding)
    assert [repr(value) for value in got] == [repr(value) for value in expected]


def test_between_unequal_neighbours_of_zero_each_goes_its_way():
    x = [-1.9, -0.1, 0.1, 0.3, 2.9]
    assert rounded(x, LOPSIDED, "toward-zero") == [-0.5, 0.0, 0.0, 0.25, 0.25]
    assert rounded(x, LOPSIDED, "toward-positive") == [-0.5, 0.0, 0.25, 3.0, 3.0]
    assert rounded(x, LOPSIDED, "toward-negative") == [-2.0, -0.5, 0.0, 0.25, 0.25]


def test_toward_zero_stays_on_its_side_of_a_zero_that_is_not_there():
    assert rounded([0.3, -0.3, 0.6, -0.6, 0.0], NO_ZERO, "toward-zero") == [0.5, -0.5, 0.5, -0.5, 0.5]


@pytest.mark.parametrize("rounding", FIXED)
def test_below_an_unsigned_format_all_go_to_its_lowest_value(rounding):
    x = [-1.0, -TINY, -math.inf, TINY]
    for overflow in ("saturate", "specials"):
        assert rounded(x, FORMATS["e8m0"], rounding, overflow=overflow) == [2.0**-127] * 4


def test_a_mode_leaves_the_grid_only_where_it_rounds_away_from_zero():
    x = [57345.0, 1e30, math.inf, -57345.0, -1e30, -math.inf]
    leaves = {
        "toward-zero": [57344.0, 57344.0, math.inf, -57344.0, -57344.0, -math.inf],
        "toward-positive": [math.inf, math.inf, math.inf, -57344.0, -57344.0, -math.inf],
        "toward-negative": [57344.0, 57344.0, math.inf, -math.inf, -math.inf, -math.inf],
    }
    for rounding, expected in leaves.items():
        assert rounded(x, FORMATS["e5m2"], rounding, overflow="specials") == expected


def test_without_infinities_it_leaves_to_nan():
    got = rounded([449.0, -449.0, math.inf, -math.inf, 448.0], FORMATS["e4m3"], "toward-positive", overflow="specials")
    assert [math.isnan(value) for value in got] == [True, False, True, True, False]
    assert (got[1], got[4]) == (-448.0, 448.0)


def test_a_finite_value_stays_even_where_dividing_by_the_scale_gives_infinity():
    x, scale = torch.tensor([3e38, -3e38, math.inf]), torch.tensor(2.0**-20)
    got = quantize(x, Quantizer(FORMATS["e5m2"], "toward-zero", "none", "specials"), scale=scale).values
    assert (got * 2.0**20).tolist() == [57344.0, -57344.0, math.inf]


@pytest.mark.parametrize("rounding", DIRECTED)
def test_what_rounds_to_zero_from_either_side_is_an_underflow(rounding):
    tally = quantize(torch.tensor([1e-9, -1e-9, 0.0, 1.0]), Quantizer(FORMATS["e4m3"], rounding, "none")).tally
    assert int(tally.underflow) == {"toward-zero": 2, "toward-positive": 1, "toward-negative": 1}[rounding]
    assert int(tally.overflow) == 0


def beyond(x, format, rounding):
    """What `x` becomes where it leaves the grid, else None: the definition, in exact fractions."""
    sign, values = (1, format.grid.values) if x > 0 else (-1, format.grid.values[::-1])
    last, near = (Fraction(sign * value) for value in (values[-1], values[-2]))
    special = sign * math.inf if format.infinity_code(sign) is not None else None
    if special is None and last > 0 and format.nan_code is not None:
        special = math.nan
    if special is None or math.isinf(x):
        return special
    gap = last - near
    if format.mantissa_bits is not None:  # a power of two at the top begins a binade of its own gap
        gap = max(gap, Fraction(2.0 ** (math.frexp(last)[1] - 1 - format.mantissa_bits)))
    excess = sign * Fraction(x) - last
    is_odd = (format.grid.values.index(values[-1]) - format.grid.origin) % 2 == 1
    leaves = {
        "nearest-even": excess > gap / 2 or (excess == gap / 2 and is_odd),
        "nearest-away": excess >= gap / 2,
        "toward-positive": sign > 0 and excess > 0,
        "toward-negative": sign < 0 and excess > 0,
    }
    return special if last > 0 and leaves.get(rounding, False) else None


def ends_plainly(format):
    """Whether half a gap beyond either end is a float64, as it is in every format of the floating family."""
    values = format.grid.values
    return all(
        Fraction(last + (last - near) / 2) == Fraction(last) + (Fraction(last) - Fraction(near)) / 2
        for last, near in (values[:2], values[:-3:-1])
    )


def assert_rounds_exactly(x, format, rounding, overflow):
    """Every element of the float32 `x`, NaN apart, goes where the definition has it."""
    how = Quantizer(format, rounding, "none", overflow)
    got = quantize(x, how).values.tolist()
    for value, came in zip(x.tolist(), got, strict=True):
        special = beyond(value, format, rounding) if overflow == "specials" and value else None
        expected = round_exactly(value, format.grid, rounding) if special is None else special
        assert came == expected or (math.isnan(came) and math.isnan(expected)), (value, came, expected)


@pytest.mark.parametrize("rounding", FIXED)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["e4m3", "e3m4", "binary8p1"])
def test_all_65536_inputs_of_two_bytes_round_as_exact_fractions_have_it(name, dtype, rounding):
    x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype).float()
    x = x[~x.isnan()]
    expected = [round_exactly(value, FORMATS[name].grid, rounding) for value in x.tolist()]
    assert fake_quantize(x, FORMATS[name], rounding=rounding).tolist() == expected


def any_format():
    """Registered, drawn from the family, or a table without any regularity."""
    return st.one_of(st.sampled_from([*FORMATS.values(), LOPSIDED, NO_ZERO, INLINE]), minifloats(), tables())


@settings(max_examples=150, deadline=None)
@given(data=st.data(), format=any_format())
def test_any_float32_rounds_as_exact_fractions_have_it(data, format):
    values = data.draw(st.lists(floats_near(format).filter(lambda x: x == x), min_size=1, max_size=20))
    for rounding, overflow in product(FIXED, ("saturate", "specials") if ends_plainly(format) else ("saturate",)):
        assert_rounds_exactly(torch.tensor(values), format, rounding, overflow)


@settings(max_examples=100, deadline=None)
@example(format=NO_ZERO, x=-TINY)
@given(format=minifloats(), x=st.floats(-4, 4, width=32))
def test_toward_positive_and_toward_negative_hold_the_value_between_them(format, x):
    inside = min(max(x, format.grid.lowest), format.grid.highest)
    low, high = (rounded([inside], format, rounding)[0] for rounding in ("toward-negative", "toward-positive"))
    assert low <= inside <= high
    assert low == high or format.grid.values.index(high) == format.grid.values.index(low) + 1

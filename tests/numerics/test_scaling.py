"""The scale of a tensor, against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from altgrad_minifloat import altgrad_formats
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core.errors import FormatError
from altgrad_core.numerics.ops import amax, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scale import scale_for
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.testing.strategies import minifloats

FORMATS = {format.name: format for format in altgrad_formats()}
UP = Scaling()
E4M3_SCALES = 'scale format "e4m3" is for rows or blocks, with scale rounding "up" or "exact"'
POSITIVE_FLOAT32 = st.floats(2.0**-149, float(torch.finfo(torch.float32).max), width=32)


def scale(amax, largest, **options):
    """scale_for one number, as a float."""
    return scale_for(torch.tensor(amax, dtype=torch.float32), largest, Scaling(**options)).item()


def smallest_power_of_two(amax, largest):
    """The smallest 2 ** k, k within +-126, with amax / 2 ** k <= largest; searched, not computed."""
    for k in range(-126, 127):
        if Fraction(amax) <= Fraction(largest) * Fraction(2) ** k:
            return 2.0**k
    return 2.0**126


@settings(max_examples=400, deadline=None)
@given(amax=POSITIVE_FLOAT32, format=st.one_of(st.sampled_from(list(FORMATS.values())), minifloats()))
def test_up_is_the_smallest_power_of_two_that_keeps_amax_within_the_format(amax, format):
    assert scale(amax, format.largest) == smallest_power_of_two(amax, format.largest)


@pytest.mark.parametrize("name", FORMATS)
def test_one_ulp_above_the_limit_the_scale_doubles(name):
    largest = FORMATS[name].largest
    for k in range(-120, 121):
        amax = torch.tensor(largest * 2.0**k, dtype=torch.float32)
        if not (amax.isfinite() and amax > 2.0**-125):
            continue
        up = torch.nextafter(amax, torch.tensor(math.inf))
        down = torch.nextafter(amax, torch.tensor(0.0))
        assert scale_for(amax, largest, UP).item() == 2.0**k
        assert not up.isfinite() or scale_for(up, largest, UP).item() == 2.0 ** (k + 1)
        assert scale_for(down, largest, UP).item() == 2.0**k


@settings(max_examples=200, deadline=None)
@given(amax=POSITIVE_FLOAT32, name=st.sampled_from(list(FORMATS)))
def test_mx_floor_is_the_difference_of_the_two_exponents(amax, name):
    largest = FORMATS[name].largest
    exponent = (math.frexp(amax)[1] - 1) - (math.frexp(largest)[1] - 1)
    assert scale(amax, largest, rounding="mx-floor") == 2.0 ** max(-126, min(126, exponent))


@settings(max_examples=200, deadline=None)
@given(amax=POSITIVE_FLOAT32, name=st.sampled_from(list(FORMATS)))
def test_exact_is_the_quotient_rounded_to_float32_within_the_limits(amax, name):
    quotient = torch.tensor(float(Fraction(amax) / Fraction(FORMATS[name].largest)), dtype=torch.float64)
    assert scale(amax, FORMATS[name].largest, rounding="exact") == quotient.float().clamp(2.0**-126, 2.0**126).item()


def test_known_scales():
    assert scale(448.0, 448.0) == 1.0
    assert scale(449.0, 448.0) == 2.0
    assert scale(224.0, 448.0) == 0.5
    assert scale(1.0, 448.0) == 2.0**-8
    assert scale(1.0, 448.0, rounding="exact") == float(torch.tensor(1 / 448, dtype=torch.float32))
    assert scale(460.0, 448.0, rounding="mx-floor") == 1.0  # saturates
    assert scale(1.0, 448.0, margin=1) == 2.0**-7
    assert scale(448.0, 448.0, rounding="exact", margin=-1) == 0.5


@pytest.mark.parametrize("rounding", ["up", "exact", "mx-floor"])
def test_amax_zero_counts_as_one(rounding):
    assert scale(0.0, 448.0, rounding=rounding) == scale(1.0, 448.0, rounding=rounding)


@pytest.mark.parametrize("rounding", ["up", "exact", "mx-floor"])
def test_the_exponent_stays_within_126(rounding):
    assert scale(2.0**-149, 2.0**100, rounding=rounding) == 2.0**-126
    assert scale(2.0**127, 2.0**-100, rounding=rounding) == 2.0**126


def test_many_amaxes_at_once_give_the_shape_they_came_in():
    amax = torch.tensor([[448.0, 0.0], [896.0, 1.0]])
    assert scale_for(amax, 448.0, UP).tolist() == [[1.0, 2.0**-8], [2.0, 2.0**-8]]
    assert scale_for(amax, 448.0, Scaling(rounding="exact")).shape == (2, 2)


def test_without_scaling_every_scale_is_one():
    assert scale_for(torch.tensor([0.0, 3.0]), 448.0, Scaling("none")).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_saturates_at_the_scale_rounded_up(name):
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 1e-3
    quantizer = Quantizer(FORMATS[name])
    tally = quantize(x.abs(), quantizer).tally
    assert tally is None or int(tally.overflow) == 0


def test_amax_looks_at_finite_elements_only():
    assert amax(torch.tensor([1.0, -3.0, math.inf, math.nan, -math.inf])).item() == 3.0
    assert amax(torch.tensor([math.nan, math.inf])).item() == 0.0
    assert amax(torch.empty(0)).item() == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "max"}, 'no scaling "max"; one of none, amax, delayed'),
        ({"rounding": "down"}, 'no scale rounding "down"; one of up, exact, mx-floor'),
        ({"scale_format": "fp16"}, 'no scale format "fp16"; one of fp32, e8m0, e4m3'),
        ({"history": 0}, "scaling history is 0; expected a whole number of steps, 1 or more"),
        (
            {"kind": "delayed", "granularity": "row"},
            'delayed scaling knows the tensor of earlier steps, not its rows: granularity "row" goes with scaling "amax"',
        ),
        (
            {"kind": "delayed", "granularity": "block:32"},
            "delayed scaling knows the tensor of earlier steps, not its rows: "
            'granularity "block:32" goes with scaling "amax"',
        ),
        (
            {"scale_format": "e8m0", "rounding": "exact"},
            'scale format "e8m0" holds powers of two only: use scale rounding "up" or "mx-floor"',
        ),
        ({"scale_format": "e4m3"}, E4M3_SCALES),
        ({"scale_format": "e4m3", "rounding": "mx-floor", "granularity": "block:16"}, E4M3_SCALES),
    ],
)
def test_a_scaling_that_cannot_be_is_refused(options, message):
    with pytest.raises(FormatError) as refusal:
        Scaling(**options)
    assert str(refusal.value) == message


NO_GRANULARITIES = "|rows|Row|row |columns|tile:|tile:4|tile:0x4|tile:4x|block|block:|block:0|block:016|block:-4|block:1.5|block:x|block:16\n|block: 16"


@pytest.mark.parametrize("granularity", [*NO_GRANULARITIES.split("|"), "block:1234567890", "block:\u0663"])
def test_a_granularity_that_cannot_be_is_refused(granularity):
    with pytest.raises(FormatError) as refusal:
        Scaling(granularity=granularity)
    names = "tensor, row, column, block:N, tile:RxC, such as block:32, tile:128x128"
    assert str(refusal.value) == f'no granularity "{granularity}"; one of {names}'

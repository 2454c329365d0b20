"""The fast paths equal the reference bit for bit, counts included."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.numerics import kernels, reference
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import quantize
from altgrad_core.testing.formats import landmarks
from altgrad_core.testing.strategies import TableFormat

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
SCALES = [1.0, 2.0**-20, 2.0**15, 0.3, 7e-4, 123.456, 2.0**-126, 2.0**126, 2.0**-140, 3e-42]
INFINITY_BITS = 0x7F800000


def random_bits(count, *, seed=0):
    """Float32 of random bit patterns: every exponent, infinities and NaN in their share."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**31), 2**31, (count,), generator=generator).to(torch.int32).view(torch.float32)


def assert_paths_agree(x, format, **how):
    got, tally = kernels.quantize(x, format, **how)
    expected, counted = reference.quantize(x, format, **how)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape) == (x.dtype, x.shape)
    bits = {4: torch.int32, 2: torch.int16}[x.element_size()]
    numbers = ~expected.isnan()
    assert torch.equal(got.isnan(), ~numbers)
    assert torch.equal(got[numbers].view(bits), expected[numbers].view(bits))
    if x.dtype == torch.float32:  # a NaN keeps its bits
        assert torch.equal(got[x.isnan()].view(bits), x[x.isnan()].view(bits))
    assert [float(count) for count in tally] == [float(count) for count in counted]


def test_every_registered_format_with_a_zero_takes_the_fast_path():
    assert [name for name in FORMATS if not kernels.supports(torch.zeros(1), FORMATS[name])] == ["e8m0"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "e8m0"])
def test_random_bit_patterns_give_the_bits_of_the_reference(name, scale):
    format = FORMATS[name]
    points = landmarks(format)[:: 1 + format.grid.origin // 1000]
    x = torch.cat([random_bits(6001), points * scale, torch.tensor([math.inf, -math.inf, math.nan])])
    for rounding, key in (("nearest-even", None), ("stochastic", 99)):
        for overflow in ("saturate", "specials"):
            how = {"scale": torch.tensor(scale), "rounding": rounding, "overflow": overflow, "key": key}
            assert_paths_agree(x, format, **how)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["e0m7", "e3m4", "e5m2", "e7m0", "binary8p3"])
def test_two_byte_inputs_give_the_bits_of_the_reference(name, dtype):
    x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
    for rounding, key in (("nearest-even", None), ("stochastic", 99)):
        how = {"scale": torch.tensor(0.7), "rounding": rounding, "overflow": "saturate", "key": key}
        assert_paths_agree(x, FORMATS[name], **how)


def test_amax_is_that_of_the_reference():
    for x in (random_bits(10_000), torch.empty(0), torch.tensor([math.nan, math.inf]), torch.tensor(-3.0)):
        assert kernels.amax(x).item() == reference.finite_amax(x).item()


@pytest.mark.parametrize("x", [torch.zeros(1, dtype=torch.float64), torch.zeros(1, device="meta")])
def test_other_types_and_devices_are_left_to_the_reference(x):
    assert not kernels.supports(x, FORMATS["e4m3"])


class Pretender(TableFormat):
    mantissa_bits = 1


@pytest.mark.parametrize(
    "format",
    [
        Minifloat(
            1, 1, bias=0, subnormals="no"
        ),  # 0, 2, 3: the rungs fit the arithmetic, the cell from 2 to 3 does not
        Minifloat(4, 3, subnormals="no"),
        Minifloat(4, 3, subnormals="none"),
        Minifloat(4, 3, signed=False),
        TableFormat((0.0, 1.0, -1.0, 2.0)),
        Pretender((0.0, 1.0, 3.0, 4.0, 0.0, -1.0, -3.0, -4.0)),
    ],
    ids=str,
)
def test_a_grid_of_another_kind_is_left_to_the_reference(format: Format):
    assert not kernels.supports(torch.zeros(1), format)


def test_a_cell_narrower_than_the_first_is_rounded_by_its_own_width():
    format = Minifloat(1, 1, bias=0, subnormals="no")  # 0, 2, 3: the tie at 2.5 goes to rung 2
    got, _ = quantize(torch.tensor([2.4, 2.5, 2.6, 2.9]), format, scale=torch.ones(()), overflow="saturate")
    assert got.tolist() == [2.0, 3.0, 3.0, 3.0]


def first_bits_of_each_rung(format):
    """For each non-negative rung the bits of the lowest float32 that rounds to it, by exact fractions."""
    values = format.grid.values[format.grid.origin :]
    first = [0]
    for rung, (low, high) in enumerate(pairwise(values), start=1):
        middle = (Fraction(low) + Fraction(high)) / 2
        near = np.float32(float(middle))
        bits = int(near.view(np.int32))
        if Fraction(float(near)) < middle or (Fraction(float(near)) == middle and rung % 2 == 1):
            bits += 1
        first.append(bits)
    return values, [*first, INFINITY_BITS + 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["e4m3", "e7m0"])
def test_all_float32_values_round_to_the_rung_of_exact_fractions(name):
    format = FORMATS[name]
    values, edges = first_bits_of_each_rung(format)
    seen = 0
    for value, (start, stop) in zip(values, pairwise(edges), strict=True):
        for begin in range(start, stop, 1 << 24):
            bits = torch.arange(begin, min(stop, begin + (1 << 24)), dtype=torch.int64).to(torch.int32)
            for sign in (1.0, -1.0):
                x = bits.view(torch.float32) * sign
                got, tally = quantize(x, format, scale=torch.ones(()), overflow="saturate")
                assert bool((got == sign * value).all()) and bool((got.signbit() == (sign < 0)).all())
                assert int(tally.nan) == 0
            seen += 2 * len(bits)
    nan = torch.arange(INFINITY_BITS + 1, 1 << 31, dtype=torch.int64).to(torch.int32)
    for bits in (nan, nan | -(2**31)):
        got, tally = quantize(bits.view(torch.float32), format, scale=torch.ones(()), overflow="saturate")
        assert torch.equal(got.view(torch.int32), bits) and int(tally.nan) == len(bits)
        seen += len(bits)
    assert seen == 2**32

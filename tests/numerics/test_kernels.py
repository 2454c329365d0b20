"""The fast paths equal the reference bit for bit, counts included."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.numerics.backends import numba, reference
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels.facts import arithmetic_facts
from altgrad_core.numerics.kernels.passes import knows
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.ops import code_type, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.rounding import ROUNDINGS
from altgrad_core.numerics.scale import scale_for
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.numerics.tiling import Tiling
from altgrad_core.testing.exact import assert_same_bits, landmarks, random_bits
from altgrad_core.testing.strategies import TableFormat

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
WITHOUT_ARITHMETIC = [
    Minifloat(1, 1, bias=0, subnormals="no"),  # 0, 2, 3: the rungs fit the arithmetic, the cell from 2 to 3 does not
    Minifloat(4, 3, subnormals="no"),
    Minifloat(4, 3, subnormals="none"),
    Minifloat(4, 3, signed=False),
    TableFormat((0.0, 1.0, -1.0, 2.0)),
    TableFormat((-1.0, 1.0, 3.0, -7.0)),  # no zero
    TableFormat((-0.0, 0.0, 0.3, 0.7, 1.1, -2.0, -0.1, 5.0)),
    TableFormat(tuple(math.copysign(abs(c / 20) ** 1.7, c) for c in range(-128, 128)), name="powers"),
]
MIXED = [*FORMATS.values(), *WITHOUT_ARITHMETIC, Minifloat(0, 15), Minifloat(6, 9), Minifloat(4, 3, bias=-90)]
SCALES = [1.0, 2.0**-20, 0.3, 123.456, 2.0**-126, 2.0**126, 3e-42]
LAYOUTS = [
    Scaling(granularity="row"),
    Scaling(rounding="exact", granularity="row"),
    Scaling(rounding="mx-floor", granularity="block:32", scale_format="e8m0"),
    Scaling(rounding="up", granularity="block:7", margin=2),
    Scaling(rounding="exact", granularity="block:16", scale_format="e4m3"),
    Scaling(rounding="up", granularity="block:16", scale_format="e4m3"),
    Scaling(rounding="exact", granularity="block:5000"),
    Scaling(granularity="column"),
    Scaling(rounding="exact", granularity="tile:5x3"),
    Scaling(rounding="up", granularity="tile:16x16", scale_format="e4m3"),
]
INFINITY_BITS = 0x7F800000
COMPILED = [rounding for rounding in ROUNDINGS if knows(FORMATS["e4m3"], rounding)]


def supports(x, format, operation="quantize"):
    return numba.supports(Case(operation, x.device.type, x.dtype, True, (format,)))


def assert_paths_agree(x, how, **given):
    got, expected = numba.quantize(x, how, **given), reference.quantize(x, how, **given)
    assert_same_bits(got.values, expected.values, x)
    assert torch.equal(got.scale, expected.scale) and got.scale.shape == expected.scale.shape
    assert [float(count) for count in got.tally] == [float(count) for count in expected.tally]


def hard_values(format, scale=1.0):
    points = landmarks(format)[:: 1 + format.grid.origin // 1000]
    return torch.cat([random_bits(3001), points * scale, torch.tensor([math.inf, -math.inf, math.nan])])


def test_every_registered_format_takes_a_fast_path():
    assert all(supports(torch.zeros(1), format) for format in FORMATS.values())
    assert len(COMPILED) == 6
    assert [name for name in FORMATS if arithmetic_facts(FORMATS[name]) is None] == ["e8m0"]


@pytest.mark.parametrize("rounding", COMPILED)
@pytest.mark.parametrize("format", MIXED, ids=lambda format: format.name)
def test_random_bit_patterns_give_the_bits_of_the_reference(format, rounding):
    for scale in SCALES:
        x = hard_values(format, scale)
        for overflow in ("saturate", "specials"):
            how = Quantizer(format, rounding, "none", overflow)
            assert_paths_agree(x, how, scale=torch.tensor(scale), key=99)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["e0m7", "e3m4", "e5m2", "e7m0", "e8m0", "bf16", "fp16"])
def test_two_byte_inputs_give_the_bits_of_the_reference(name, dtype):
    x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
    for rounding in ("nearest-even", "toward-negative", "stochastic"):
        for scale in (0.7, 2.0**-3, 2.0**-126):
            assert_paths_agree(x, Quantizer(FORMATS[name], rounding, "none"), scale=torch.tensor(scale), key=99)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("format", [FORMATS["e2m1"], FORMATS["e4m3"], WITHOUT_ARITHMETIC[7]], ids=str)
def test_rows_blocks_and_tiles_give_the_bits_of_the_reference(format, layout):
    generator = torch.Generator().manual_seed(3)
    for shape in [(64,), (3, 40), (2, 3, 96), (3, 9000), (0,), (3, 0), (4, 4096)]:
        x = torch.randn(shape, generator=generator) * torch.randn(shape, generator=generator).mul(4).exp()
        if x.numel() > 50:
            x.view(-1)[7], x.view(-1)[9], x.view(-1)[20] = math.nan, math.inf, 1e-42
            x.view(-1)[32:48] = 0.0
        for rounding in ("nearest-even", "stochastic"):
            how = Quantizer(format, rounding, layout)
            for dtype in (torch.float32, torch.bfloat16):
                assert_paths_agree(x.to(dtype), how, key=5)
                assert_paths_agree(x.to(dtype), how, key=5, scale=reference.quantize(x, how, key=5).scale)


@pytest.mark.parametrize("rounding", ["nearest-even", "toward-positive", "stochastic"])
@pytest.mark.parametrize("format", MIXED, ids=lambda format: format.name)
def test_codes_are_those_of_the_reference(format, rounding):
    x = hard_values(format)
    x = x if format.nan_code is not None else x.nan_to_num(nan=0.0)
    for overflow in ("saturate", "specials"):
        for scale in (1.0, 0.3):
            how = Quantizer(format, rounding, "none", overflow)
            got, expected = (torch.empty(x.shape, dtype=code_type(format)) for _ in range(2))
            numba.encode(x, how, scale=torch.tensor(scale), key=3, out=got)
            reference.encode(x, how, scale=torch.tensor(scale), key=3, out=expected)
            assert torch.equal(got.int(), expected.int())


def test_the_number_of_threads_changes_nothing():
    x, before = torch.randn(3 * 2**18 + 77), torch.get_num_threads()
    x[12345], x[700000] = math.nan, math.inf
    hows = [Quantizer(FORMATS["e4m3"], rounding, "amax") for rounding in ("nearest-even", "stochastic")]
    hows += [Quantizer(FORMATS["e4m3"], scaling=Scaling(granularity="block:32"))]
    hows += [Quantizer(WITHOUT_ARITHMETIC[-1], "stochastic")]
    try:
        for how in hows:
            torch.set_num_threads(1)
            alone = quantize(x[: len(x) // 32 * 32], how, key=1)
            torch.set_num_threads(3)
            together = quantize(x[: len(x) // 32 * 32], how, key=1)
            assert_same_bits(together.values, alone.values, alone.values)
            assert [float(count) for count in together.tally] == [float(count) for count in alone.tally]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_memory_of_a_tensor_is_read_where_it_is_and_can_be_freed_afterwards(dtype):
    x, how = torch.randn(6, 8).to(dtype).requires_grad_(), Quantizer(FORMATS["e4m3"])
    expected, scale, _ = reference.quantize(x, how)
    assert torch.equal(quantize(x, how).values, expected)
    assert torch.equal(quantize(x.t(), how).values, expected.t())
    assert torch.equal(quantize(x[:, ::2], how, scale=scale).values, expected[:, ::2])
    out = torch.empty_like(x, requires_grad=False)
    assert quantize(x, how, out=out).values is out and torch.equal(out, expected)
    for tensor in (x, out):
        tensor.untyped_storage().resize_(0)  # as FSDP frees a gathered weight


def test_scales_are_those_of_the_definition():
    amax = torch.cat([random_bits(2000).abs().nan_to_num(0.0, 0.0), torch.tensor([0.0, 1e-45, 448.0, 449.0, 3e38])])
    for rule in [Scaling("none"), Scaling("delayed", "exact", margin=-3), Scaling(margin=5), *LAYOUTS]:
        for format in (FORMATS["e4m3"], FORMATS["e0m7"], FORMATS["e7m0"]):
            how = Quantizer(format, scaling=rule)
            assert torch.equal(numba.scale(amax, how), scale_for(amax, format.largest, rule))
            assert numba.scale(amax[3], how) == scale_for(amax[3], format.largest, rule)


def test_amax_is_that_of_the_reference():
    for x in (random_bits(10_000), torch.empty(0), torch.tensor([math.nan, math.inf]), torch.tensor(-3.0)):
        for one in (x, x.bfloat16()):
            assert numba.amax(one, Tiling.of("tensor")).item() == reference.amax(one, Tiling.of("tensor")).item()


@pytest.mark.parametrize("x", [torch.zeros(1, dtype=torch.float64), torch.zeros(1, device="meta")])
def test_other_types_and_devices_are_left_to_the_reference(x):
    assert not supports(x, FORMATS["e4m3"])


class Pretender(TableFormat):
    mantissa_bits = 1


@pytest.mark.parametrize(
    "format", [*WITHOUT_ARITHMETIC, Pretender((0.0, 1.0, 3.0, 4.0, 0.0, -1.0, -3.0, -4.0))], ids=str
)
def test_a_grid_of_another_kind_is_looked_up(format: Format):
    assert arithmetic_facts(format) is None
    assert supports(torch.zeros(1), format) and not supports(torch.zeros(1), format, "walk")


def test_a_table_with_steps_too_close_to_each_other_is_left_to_the_reference():
    format = TableFormat((1.0, 1.0 + 2.0**-20, 1.0 + 2.0**-19, 2.0))
    assert not supports(torch.zeros(1), format)
    x = torch.tensor([1.0, 1.0 + 2.0**-20 + 2.0**-22])
    assert quantize(x, Quantizer(format, scaling="none")).values.tolist() == [1.0, 1.0 + 2.0**-20]


def test_a_cell_narrower_than_the_first_is_rounded_by_its_own_width():
    x = torch.tensor([2.4, 2.5, 2.6, 2.9])  # among 0, 2, 3 the tie at 2.5 goes to rung 2
    got = quantize(x, Quantizer(WITHOUT_ARITHMETIC[0], scaling="none")).values
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
    format, how = FORMATS[name], Quantizer(FORMATS[name], scaling="none")
    values, edges = first_bits_of_each_rung(format)
    seen = 0
    for value, (start, stop) in zip(values, pairwise(edges), strict=True):
        for begin in range(start, stop, 1 << 24):
            bits = torch.arange(begin, min(stop, begin + (1 << 24)), dtype=torch.int64).to(torch.int32)
            for sign in (1.0, -1.0):
                x = bits.view(torch.float32) * sign
                got, _, tally = quantize(x, how)
                assert bool((got == sign * value).all()) and bool((got.signbit() == (sign < 0)).all())
                assert int(tally.nan) == 0
            seen += 2 * len(bits)
    nan = torch.arange(INFINITY_BITS + 1, 1 << 31, dtype=torch.int64).to(torch.int32)
    for bits in (nan, nan | -(2**31)):
        got, _, tally = quantize(bits.view(torch.float32), how)
        assert torch.equal(got.view(torch.int32), bits) and int(tally.nan) == len(bits)
        seen += len(bits)
    assert seen == 2**32

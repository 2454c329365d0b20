"""Scales of rows and blocks: against gfloat's block formats, one block at a time, and exact fractions."""

from __future__ import annotations

import math
from functools import reduce
from itertools import product

import gfloat.formats
import numpy as np
import pytest
import torch
from altgrad_minifloat import altgrad_formats
from gfloat import RoundMode, compute_scale_amax, decode_block, encode_block, quantize_block
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core.numerics.ops import fake_quantize, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.numerics.tally import Tally
from tests.numerics.codes import decoded, encoded

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
SIGNED = [name for name, format in FORMATS.items() if format.signed]
E2M1, E4M3 = FORMATS["e2m1"], FORMATS["e4m3"]
GFLOAT_BLOCKS = {
    "e2m1": gfloat.formats.format_info_mxfp4_e2m1,
    "e2m3": gfloat.formats.format_info_mxfp6_e2m3,
    "e3m2": gfloat.formats.format_info_mxfp6_e3m2,
    "e4m3": gfloat.formats.format_info_mxfp8_e4m3,
    "e5m2": gfloat.formats.format_info_mxfp8_e5m2,
}
MODES = {
    "nearest-even": RoundMode.TiesToEven,
    "nearest-away": RoundMode.TiesToAway,
    "toward-zero": RoundMode.TowardZero,
    "toward-positive": RoundMode.TowardPositive,
    "toward-negative": RoundMode.TowardNegative,
}
MX = Scaling(rounding="mx-floor", granularity="block:32", scale_format="e8m0")
SCALINGS = [
    *(Scaling(rounding=rounding, granularity="row") for rounding in ("up", "exact", "mx-floor")),
    *(Scaling(rounding=rounding, granularity="block:7") for rounding in ("up", "exact", "mx-floor")),
    *(Scaling(granularity=granularity, scale_format="e8m0") for granularity in ("row", "block:32")),
    *(Scaling(rounding=rounding, granularity="block:16", scale_format="e4m3") for rounding in ("up", "exact")),
    Scaling(rounding="exact", granularity="row", scale_format="e4m3"),
]


def noise(*shape, seed=0):
    """Values whose magnitude changes from place to place, with zeros of both signs."""
    generator = torch.Generator().manual_seed(seed)
    powers = torch.randint(-12, 12, shape, generator=generator).double()
    x = (torch.randn(*shape, generator=generator).double() * 2.0**powers).float()
    return x.masked_fill(torch.rand(*shape, generator=generator) < 0.05, 0.0).copysign(x)


def bits(x):
    """Float32 bit patterns, every NaN alike."""
    return x.float().nan_to_num(nan=math.pi, posinf=math.inf, neginf=-math.inf).view(torch.int32)


def piece_by_piece(x, format, rounding, scaling, size):
    """Each block of each row of a matrix quantized as a tensor of its own: values, scales and counts."""
    whole = Quantizer(format, rounding, Scaling(rounding=scaling.rounding, margin=scaling.margin))
    done = [[quantize(piece, whole) for piece in row.split(size)] for row in x]
    values = torch.stack([torch.cat([block.values for block in row]) for row in done])
    scales = torch.stack([torch.stack([block.scale for block in row]) for row in done])
    return values, scales, reduce(Tally.plus, (block.tally for row in done for block in row))


@pytest.mark.parametrize("rounding", MODES)
@pytest.mark.parametrize("name", GFLOAT_BLOCKS)
def test_mx_blocks_are_those_of_gfloat_code_by_code(name, rounding):
    info, mode = GFLOAT_BLOCKS[name], MODES[rounding]
    how = Quantizer(FORMATS[name], rounding, MX)
    x = torch.cat([noise(6, 64), noise(2, 64, seed=1) * 2.0**60, noise(1, 64, seed=2) * 2.0**-60])
    codes, scales = encoded(x, how)
    values = fake_quantize(x, how)
    for row, column in product(range(len(x)), range(2)):
        block = x[row, 32 * column : 32 * (column + 1)].double().numpy()
        scale = compute_scale_amax(info.etype.emax, block)
        assert scales[row, column].item() == scale
        expected = list(encode_block(info, scale, block / scale, mode))[1:]
        assert codes[row, 32 * column : 32 * (column + 1)].tolist() == expected
        quantized = quantize_block(info, block, compute_scale_amax, mode)
        np.testing.assert_array_equal(values[row, 32 * column : 32 * (column + 1)].double().numpy(), quantized)


def test_codes_of_gfloat_decode_to_its_values():
    info, how = GFLOAT_BLOCKS["e4m3"], Quantizer(E4M3, scaling=MX)
    codes = torch.arange(256).view(8, 32)
    scales = 2.0 ** torch.arange(-4.0, 4.0).view(8, 1)
    for row in range(8):
        expected = list(decode_block(info, [127 + row - 4, *codes[row].tolist()]))
        np.testing.assert_array_equal(decoded(codes, scales, how)[row].double().numpy(), expected)


@pytest.mark.parametrize("granularity", ["row", "block:1", "block:5", "block:32", "block:99"])
@pytest.mark.parametrize("scale_rounding", ["up", "exact", "mx-floor"])
@pytest.mark.parametrize("name", ["e0m7", "e2m1", "e4m3", "e7m0", "bf16"])
def test_every_block_is_quantized_as_if_it_were_alone(name, scale_rounding, granularity):
    x, scaling = noise(3, 23), Scaling(rounding=scale_rounding, granularity=granularity, margin=1)
    size = 23 if granularity == "row" else int(granularity[6:])  # the last block of a row is short
    for rounding in MODES:
        values, scales, tally = piece_by_piece(x, FORMATS[name], rounding, scaling, size)
        done = quantize(x, Quantizer(FORMATS[name], rounding, scaling))
        assert torch.equal(bits(done.values), bits(values)) and torch.equal(done.scale, scales)
        assert [float(count) for count in done.tally] == [float(count) for count in tally]


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_random_choices_in_blocks_are_those_of_the_scaled_tensor(scaling):
    x, how = noise(6, 100), Quantizer(E4M3, "stochastic", scaling)
    done = quantize(x, how, key=11)
    spread = done.scale.repeat_interleave(how.tiling.block(100), dim=-1)[:, :100]
    alone = fake_quantize(x / spread, E4M3, rounding="stochastic", key=11)
    assert torch.equal(bits(done.values), bits(alone * spread))


def test_rows_and_blocks_run_along_the_last_dimension_of_what_is_given():
    x, how = noise(8, 6), Quantizer(E4M3, scaling=Scaling(granularity="row"))
    assert quantize(x.t(), how).scale.shape == (6, 1)
    for view in (x.t(), x[:, ::2], x[:1].expand(5, 6), x.view(2, 4, 6).transpose(0, 2)):
        assert torch.equal(fake_quantize(view, how), fake_quantize(view.contiguous(), how))


def test_more_dimensions_are_more_rows():
    x, how = noise(2, 3, 20), Quantizer(E4M3, scaling=Scaling(granularity="block:8"))
    done, flat = quantize(x, how), quantize(x.view(6, 20), how)
    assert done.scale.shape == (2, 3, 3)
    assert torch.equal(done.values.view(6, 20), flat.values) and torch.equal(done.scale.view(6, 3), flat.scale)


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (2, 0, 3)])
def test_empty_tensors_have_no_scales_and_stay(shape, scaling):
    how, x = Quantizer(E4M3, scaling=scaling), torch.empty(shape)
    done = quantize(x, how)
    assert (done.values.shape, done.scale.numel(), done.tally.elements) == (shape, 0, 0)
    codes, scale = encoded(x, how)
    assert decoded(codes, scale, how).shape == shape


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_a_scalar_has_one_scale_whatever_the_granularity(scaling):
    how, x = Quantizer(E4M3, scaling=scaling), torch.tensor(449.0)
    done, row = quantize(x, how), quantize(x.view(1), how)
    assert (done.values.shape, done.scale.shape) == ((), ())
    assert (done.values.item(), done.scale.item()) == (row.values.item(), row.scale.item())
    codes, scale = encoded(x, how)
    assert (codes.shape, decoded(codes, scale, how).item()) == ((), done.values.item())


def test_the_row_of_a_vector_is_the_vector():
    x = noise(50)
    for rounding in ("up", "exact", "mx-floor"):
        row, whole = (
            quantize(x, Quantizer(E4M3, scaling=Scaling(rounding=rounding, granularity=granularity)))
            for granularity in ("row", "tensor")
        )
        assert torch.equal(row.values, whole.values) and row.scale.tolist() == [whole.scale.item()]


@st.composite
def matrices(draw, *, limit=2.0**60):
    """Small matrices of finite float32 values; their blocks may differ by any factor."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 40))
    value = st.one_of(st.floats(-limit, limit, width=32), st.sampled_from([0.0, 2.0**-149, -(2.0**-126), limit]))
    return torch.tensor(draw(st.lists(value, min_size=rows * columns, max_size=rows * columns))).view(rows, columns)


UP = [scaling for scaling in SCALINGS if scaling.rounding == "up"]


@settings(max_examples=150, deadline=None)
@given(x=matrices(), name=st.sampled_from(list(FORMATS)), scaling=st.sampled_from(UP))
def test_nothing_saturates_at_scales_rounded_up(x, name, scaling):
    x = x if FORMATS[name].signed else x.abs()
    assert int(quantize(x, Quantizer(FORMATS[name], scaling=scaling)).tally.overflow) == 0


@settings(max_examples=100, deadline=None)
@given(
    x=matrices(limit=2.0**20), name=st.sampled_from(SIGNED), scaling=st.sampled_from(SCALINGS), power=st.integers(-9, 9)
)
def test_a_power_of_two_goes_through_unchanged(x, name, scaling, power):
    x = x.where(x.abs() >= 2.0**-40, 0.0)  # nothing becomes subnormal
    for rounding in ("nearest-even", "stochastic"):
        how = Quantizer(FORMATS[name], rounding, scaling)
        here, there = quantize(x, how, key=3), quantize(x * 2.0**power, how, key=3)
        has_room = min(here.scale.min(), there.scale.min()) > 2.0**-126  # below, scales lose bits, and at last end
        if has_room or scaling.rounding == "up":
            assert torch.equal(bits(here.values * 2.0**power), bits(there.values))
        if has_room:
            assert torch.equal(encoded(x, how, key=3)[0], encoded(x * 2.0**power, how, key=3)[0])


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_decode_of_encode_is_fake_quantize_bit_for_bit(name, scaling):
    x = torch.cat([noise(3, 50), torch.tensor([[math.inf, -math.inf, -0.0, 1e-30, 3.0]]).repeat(1, 10)])
    modes = (*MODES, "stochastic") if FORMATS[name].bits <= 8 else ("nearest-even", "toward-zero", "stochastic")
    for rounding, overflow in product(modes, ("saturate", "specials")):
        how = Quantizer(FORMATS[name], rounding, scaling, overflow)
        codes, scale = encoded(x, how, key=5)
        assert torch.equal(bits(decoded(codes, scale, how)), bits(fake_quantize(x, how, key=5)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_type_stays_as_it_came(dtype):
    x = torch.randn(4, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    for scaling in SCALINGS:
        how = Quantizer(E4M3, scaling=scaling)
        y = fake_quantize(x, how)
        assert y.dtype == dtype and quantize(x, how).scale.dtype == torch.float32
        assert torch.equal(y.float(), fake_quantize(x.float(), how).to(dtype).float())


def test_the_clipped_gradient_follows_the_scale_of_each_block():
    x = torch.tensor([[460.0, 448.0, 1.0, 0.9], [7.0, 7.5, 8.0, 0.0]], requires_grad=True)
    scaling = Scaling(rounding="mx-floor", granularity="block:2")
    fake_quantize(x, Quantizer(E4M3, scaling=scaling, straight_through="clipped")).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]]


def test_given_scales_of_blocks_are_used_as_they_are():
    x, how = noise(4, 40), Quantizer(E4M3, scaling=Scaling(granularity="block:16"))
    scales = torch.full((4, 3), 0.3)
    done = quantize(x, how, scale=scales)
    assert torch.equal(done.values, quantize(x, Quantizer(E4M3), scale=torch.tensor(0.3)).values)
    assert torch.equal(done.scale, scales)

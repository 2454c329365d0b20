"""Quantizers and the bare functions: gradients, types, shapes, codes, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Float32
from altgrad_core.numerics.ops import decode, encode, fake_quantize, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import derive_key
from altgrad_core.numerics.rounding import ROUNDINGS
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.numerics.straight_through import Roundings, quantized_linear
from tests.numerics.codes import decoded, encoded

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
E4M3, E5M2, E8M0 = FORMATS["e4m3"], FORMATS["e5m2"], FORMATS["e8m0"]
SIX = tuple(ROUNDINGS)
BOTH_PATHS = pytest.mark.usefixtures("either_path")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same_bits(a, b):
    """Equal float32 bit patterns, NaN payloads apart."""
    assert a.dtype == b.dtype == torch.float32
    assert torch.equal(a.nan_to_num(nan=0.0).view(torch.int32), b.nan_to_num(nan=0.0).view(torch.int32))
    assert torch.equal(a.isnan(), b.isnan())


@BOTH_PATHS
@pytest.mark.parametrize("scaling", ["none", "amax"])
def test_the_gradient_passes_straight_through(scaling):
    x = (noise(50) * 1000).requires_grad_()
    y = fake_quantize(x, E4M3, scaling=scaling)
    incoming = noise(50, seed=1)
    y.backward(incoming)
    assert torch.equal(x.grad, incoming)
    assert not torch.equal(y, x)


@BOTH_PATHS
def test_the_clipped_gradient_is_zero_exactly_where_the_value_overflowed():
    x = torch.tensor([1.0, 448.0, 449.0, -448.0, -500.0, math.inf, math.nan], requires_grad=True)
    fake_quantize(x, E4M3, straight_through="clipped").sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 1, 0, 0, 0]


def test_a_clipped_gradient_that_is_infinite_becomes_zero_too():
    x = torch.tensor([1.0, 500.0], requires_grad=True)
    fake_quantize(x, E4M3, straight_through="clipped").backward(torch.tensor([math.inf, math.inf]))
    assert x.grad.tolist() == [math.inf, 0.0]


def test_clipping_follows_the_scale():
    x = torch.tensor([460.0, 448.0], requires_grad=True)
    fake_quantize(x, E4M3, scaling=Scaling(rounding="mx-floor"), straight_through="clipped").sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def to_e4m3(passes=None):
    """What rounds an operand of a product, and where its gradient passes."""
    return lambda tensor: (fake_quantize(tensor.detach(), E4M3), passes)


def leaves():
    """An input (3, 4), a weight (2, 4) and a bias (2,), far enough from the grid for rounding to show."""
    return noise(3, 4).requires_grad_(), noise(2, 4, seed=1).requires_grad_(), noise(2, seed=2).requires_grad_()


def test_a_quantized_product_multiplies_the_rounded_operands():
    x, weight, bias = leaves()
    y = quantized_linear(x, weight, bias, Roundings(to_e4m3(), to_e4m3()))
    assert torch.equal(y, fake_quantize(x, E4M3) @ fake_quantize(weight, E4M3).t() + bias)


def test_the_gradient_is_rounded_once_for_both_products_and_not_for_the_bias():
    (x, weight, bias), incoming, seen = leaves(), noise(3, 2, seed=3) * 100, []

    def rounds(gradient):
        seen.append(gradient)
        return to_e4m3()(gradient)

    quantized_linear(x, weight, bias, Roundings(to_e4m3(), to_e4m3(), rounds)).backward(incoming)
    rounded = fake_quantize(incoming, E4M3)
    assert len(seen) == 1 and not torch.equal(rounded, incoming)
    assert torch.equal(x.grad, rounded @ fake_quantize(weight.detach(), E4M3))
    assert torch.equal(weight.grad, rounded.t() @ fake_quantize(x.detach(), E4M3))
    assert torch.equal(bias.grad, incoming.sum(dim=0))


def test_a_clipped_operand_of_a_product_has_no_gradient_where_it_overflowed():
    (x, weight, bias), ones = leaves(), torch.ones(3, 2)
    quantized_linear(x, weight, bias, Roundings(to_e4m3(x > 0), to_e4m3(weight > 0))).backward(ones)
    assert torch.equal(x.grad, (ones @ fake_quantize(weight.detach(), E4M3)).where(x > 0, 0.0))
    assert torch.equal(weight.grad, (ones.t() @ fake_quantize(x.detach(), E4M3)).where(weight > 0, 0.0))


@BOTH_PATHS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_type_and_shape_stay_as_they_came(dtype):
    x = noise(3, 4, 5).to(dtype)
    y = fake_quantize(x, E4M3, scaling="amax")
    assert (y.dtype, y.shape) == (dtype, x.shape)
    assert torch.equal(y.float(), fake_quantize(x.float(), E4M3, scaling="amax"))


def test_float64_is_rounded_once():
    x = torch.tensor([17.0 + 2.0**-40, 17.0, 17.0 - 2.0**-40], dtype=torch.float64)
    assert fake_quantize(x, E4M3).tolist() == [18.0, 16.0, 16.0]
    assert encode(x, E4M3).tolist() == [0x59, 0x58, 0x58]


@BOTH_PATHS
@pytest.mark.parametrize("rounding", SIX)
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (), (1,)])
def test_empty_and_scalar_tensors_are_tensors_too(rounding, shape):
    x = torch.full(shape, 1.5)
    y = fake_quantize(x, E4M3, rounding=rounding, scaling="amax", key=1)
    assert y.shape == shape and torch.equal(y, x)
    assert encode(x, E4M3, rounding=rounding, key=1).shape == shape
    tally = quantize(x, Quantizer(E4M3, rounding), scale=torch.ones(()), key=1).tally
    assert tally.elements == x.numel() and float(tally.amax) == (1.5 if x.numel() else 0.0)


@BOTH_PATHS
def test_memory_order_does_not_matter():
    x = noise(6, 8)
    for view in (x.t(), x[:, ::2], x[1:4, 3:5], x[:1].expand(5, 8)):
        assert torch.equal(fake_quantize(view, E4M3), fake_quantize(view.contiguous(), E4M3))


@BOTH_PATHS
def test_the_input_is_left_as_it_was():
    x = noise(100)
    before = x.clone()
    fake_quantize(x, E4M3, scaling="amax")
    encode(x, E4M3)
    assert torch.equal(x, before)


@BOTH_PATHS
def test_nan_stays_and_infinity_saturates_under_amax_scaling():
    y = fake_quantize(torch.tensor([1.0, math.nan, math.inf, -math.inf, -2.0]), E4M3, scaling="amax")
    largest = 448 * 2.0**-7  # amax is 2, over 448 rounded up to a power of two: 2 ** -7
    assert y.isnan().tolist() == [False, True, False, False, False]
    assert y[[0, 2, 3, 4]].tolist() == [1.0, largest, -largest, -2.0]


@BOTH_PATHS
def test_all_zero_and_all_nan_tensors_are_scaled_as_if_amax_were_one():
    assert encoded(torch.zeros(3), Quantizer(E4M3))[1].item() == 2.0**-8
    assert fake_quantize(torch.full((2,), math.nan), E4M3, scaling="amax").isnan().all()
    assert fake_quantize(torch.zeros(3), E4M3, scaling="amax").tolist() == [0, 0, 0]


def test_encoding_nan_without_a_code_for_it_is_refused():
    with pytest.raises(FormatError) as refusal:
        encode(torch.tensor([1.0, math.nan, math.nan]), FORMATS["e3m4"])
    assert str(refusal.value) == 'encode: 2 NaN among 3 values, and "e3m4" has no NaN code'


def test_nan_and_infinities_encode_to_their_lowest_code():
    x = torch.tensor([math.nan, math.inf, -math.inf])
    assert encode(x, E5M2, overflow="specials").tolist() == [0x7D, 0x7C, 0xFC]
    assert encode(x, E5M2).tolist() == [0x7D, 0x7B, 0xFB]
    assert encode(x, E4M3, overflow="specials").tolist() == [0x7F, 0x7F, 0x7F]
    assert encode(x, FORMATS["binary8p4"], overflow="specials").tolist() == [0x80, 0x7F, 0xFF]


@BOTH_PATHS
@pytest.mark.parametrize("scale", [2.0**-20, torch.tensor([2.0**-20])], ids=["number", "tensor"])
@pytest.mark.parametrize("rounding", ["toward-zero", "stochastic"])
def test_a_finite_value_has_a_finite_code_even_where_dividing_by_the_scale_gives_infinity(rounding, scale):
    codes = encode(
        torch.tensor([3e38, -3e38, math.inf]), E5M2, scale=scale, rounding=rounding, overflow="specials", key=1
    )
    assert codes.tolist() == [0x7B, 0xFB, 0x7C]


@pytest.mark.parametrize("name", FORMATS)
def test_codes_take_one_byte_up_to_8_bits_and_two_above(name):
    codes = encode(torch.ones(3), FORMATS[name])
    assert codes.dtype == (torch.uint8 if FORMATS[name].bits <= 8 else torch.uint16)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rounding", SIX)
@pytest.mark.parametrize("scale_rounding", ["up", "exact"])
def test_decode_of_encode_is_fake_quantize_bit_for_bit(name, rounding, scale_rounding):
    quantizer = Quantizer(FORMATS[name], rounding, Scaling(rounding=scale_rounding))
    x = torch.cat([noise(2000) * 0.3, noise(200) * 1e-4, torch.tensor([0.0, -0.0, math.inf, -math.inf])])
    codes, scale = encoded(x, quantizer, key=5)
    assert_same_bits(decoded(codes, scale, quantizer), fake_quantize(x, quantizer, key=5))


@pytest.mark.parametrize("rounding", SIX)
@pytest.mark.parametrize("scale_rounding", ["up", "exact"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_e0m7_equals_e1m6_bit_for_bit_under_amax_scaling(rounding, scale_rounding, dtype):
    key, scaling = derive_key(0, "control"), Scaling(rounding=scale_rounding)
    for seed in range(20):
        x = (noise(1000, seed=seed) * 10.0 ** (seed - 10)).to(dtype)
        fixed, floating = (
            fake_quantize(x, FORMATS[name], rounding=rounding, scaling=scaling, key=key) for name in ("e0m7", "e1m6")
        )
        assert_same_bits(fixed.float(), floating.float())
        codes = [encoded(x, Quantizer(FORMATS[name], rounding, scaling), key=key)[0] for name in ("e0m7", "e1m6")]
        assert torch.equal(*codes)


def test_the_identity_returns_the_value_and_passes_the_gradient():
    x = noise(10).requires_grad_()
    y = fake_quantize(x, Float32(), scaling="amax", straight_through="clipped")
    y.sum().backward()
    assert torch.equal(y, x) and torch.equal(x.grad, torch.ones(10))
    with pytest.raises(FormatError) as refusal:
        encode(x, Float32())
    assert str(refusal.value) == 'format "fp32" is the identity: it has no codes'


def test_decode_takes_any_integer_type_and_a_scale():
    for dtype in (torch.uint8, torch.int16, torch.int64):
        assert decode(torch.tensor([0x38, 0xB8], dtype=dtype), E4M3, scale=2.0).tolist() == [2.0, -2.0]
    assert decode(torch.tensor([0x3C00, 0xFBFF]).to(torch.uint16), FORMATS["fp16"]).tolist() == [1.0, -65504.0]


def test_the_table_of_values_is_made_once_for_all_codes_of_a_format(monkeypatch):
    codes, makes = torch.tensor([0x38, 0xB8]), []
    decode(codes, E4M3)
    monkeypatch.setattr(torch, "tensor", lambda *a, make=torch.tensor, **o: makes.append(a) or make(*a, **o))
    assert decode(codes, E4M3).tolist() == [1.0, -1.0] and makes == []


def test_encode_divides_by_the_scale():
    assert encode(torch.tensor([2.0, -2.0]), E4M3, scale=2.0).tolist() == [0x38, 0xB8]
    assert encode(torch.tensor([2.0, -2.0]), E4M3, scale=torch.tensor(2.0)).tolist() == [0x38, 0xB8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"rounding": "up"},
            'no rounding "up"; one of nearest-even, nearest-away, toward-zero, toward-positive, toward-negative, '
            "stochastic, nearest-odd, to-odd, or stochastic:N with N random bits, 1 to 23",
        ),
        ({"overflow": "wrap"}, 'no overflow "wrap"; one of saturate, specials'),
        ({"straight_through": "no"}, 'no straight_through "no"; one of identity, clipped'),
        ({"scaling": "min"}, 'no scaling "min"; one of none, amax, delayed'),
    ],
)
def test_a_quantizer_that_cannot_be_is_refused(options, message):
    with pytest.raises(FormatError) as refusal:
        Quantizer(E4M3, **options)
    assert str(refusal.value) == message


def test_delayed_scaling_needs_a_plan():
    with pytest.raises(FormatError) as refusal:
        fake_quantize(torch.ones(1), E4M3, scaling="delayed")
    assert str(refusal.value) == "delayed scaling needs a history from step to step: use quantize_model"


def test_a_quantizer_of_a_name_says_how_to_load_it():
    with pytest.raises(FormatError) as refusal:
        _ = Quantizer("e4m3").target
    assert str(refusal.value) == '"e4m3" is only a name here; pass load_format("e4m3")'


def test_quantizers_are_values():
    assert Quantizer(E4M3, scaling="amax") == Quantizer(E4M3, scaling=Scaling("amax"))
    assert len({Quantizer("e4m3"), Quantizer("e4m3"), Quantizer("e5m2")}) == 2


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (torch.tensor([-1]), 'decode: codes from -1 to -1; "e4m3" has codes from 0 to 255'),
        (torch.tensor([3, 300]), 'decode: codes from 3 to 300; "e4m3" has codes from 0 to 255'),
        (torch.tensor([1.5]), "decode: codes are torch.float32; expected integers, as encode returns them"),
    ],
)
def test_codes_that_a_format_does_not_have_are_refused(codes, said):
    with pytest.raises(FormatError) as caught:
        decode(codes, FORMATS["e4m3"])
    assert str(caught.value) == said

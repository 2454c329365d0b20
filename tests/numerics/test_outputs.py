"""Results written where the caller says: `out` of every function, and what is no place for a result."""

from __future__ import annotations

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Float32
from altgrad_core.numerics.ops import decode, encode, fake_quantize, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.rounding import ROUNDINGS
from altgrad_core.numerics.scaling import Scaling

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
E4M3, FP16 = FORMATS["e4m3"], FORMATS["fp16"]
BOTH_PATHS = pytest.mark.usefixtures("either_path")
GRANULARITIES = ["tensor", "row", "block:5"]


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 3


def with_nan(shape, dtype=torch.float32):
    """A place whose contents would show if they were read."""
    return torch.full(shape, torch.nan, dtype=dtype)


def refusal(call, *arguments, **options):
    """The text of the FormatError that a call raises."""
    with pytest.raises(FormatError) as caught:
        call(*arguments, **options)
    return str(caught.value)


@BOTH_PATHS
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_quantize_writes_the_values_into_out(dtype, rounding, granularity):
    x = noise(7, 13).to(dtype)
    how = Quantizer(E4M3, rounding, Scaling(granularity=granularity))
    out = with_nan((7, 13), dtype)
    done, fresh = quantize(x, how, key=3, out=out), quantize(x, how, key=3)
    assert done.values.data_ptr() == out.data_ptr()
    assert torch.equal(out, fresh.values) and torch.equal(done.scale, fresh.scale)
    assert [float(count) for count in done.tally] == [float(count) for count in fresh.tally]


@BOTH_PATHS
def test_fake_quantize_writes_into_out_and_the_gradient_still_passes():
    x, out = noise(40).requires_grad_(), with_nan((40,))
    y = fake_quantize(x, E4M3, scaling="amax", out=out)
    y.backward(torch.arange(40.0))
    assert y.data_ptr() == out.data_ptr() and torch.equal(out, fake_quantize(x.detach(), E4M3, scaling="amax"))
    assert torch.equal(x.grad, torch.arange(40.0)) and not out.requires_grad


@BOTH_PATHS
@pytest.mark.parametrize("scale", [1.0, 0.3, torch.tensor([[0.5], [3.0]])], ids=["one", "number", "tensor"])
@pytest.mark.parametrize("name", ["e4m3", "fp16", "e8m0", "e2m1"])
def test_encode_and_decode_write_into_out(name, scale):
    x, format = noise(2, 9).abs(), FORMATS[name]
    codes = encode(x, format, scale=scale)
    place, values = torch.full((2, 9), 255, dtype=codes.dtype), with_nan((2, 9))
    assert encode(x, format, scale=scale, out=place) is place and torch.equal(place, codes)
    assert decode(codes, format, scale=scale, out=values) is values
    assert torch.equal(values, decode(codes, format, scale=scale))


@BOTH_PATHS
def test_out_may_be_part_of_another_tensor():
    x, buffer = noise(3, 4), with_nan((5, 4))
    fake_quantize(x, E4M3, out=buffer[1:4])
    assert torch.equal(buffer[1:4], fake_quantize(x, E4M3)) and buffer[[0, 4]].isnan().all()


@BOTH_PATHS
def test_a_transposed_input_is_written_in_the_order_of_its_shape():
    x, out = noise(4, 6).t(), with_nan((6, 4))
    fake_quantize(x, E4M3, out=out)
    assert torch.equal(out, fake_quantize(x.contiguous(), E4M3))


@BOTH_PATHS
@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_empty_and_scalar_outputs_are_outputs_too(shape):
    x, out = torch.full(shape, 1.03), with_nan(shape)
    assert torch.equal(fake_quantize(x, E4M3, out=out), torch.ones(shape)) and torch.equal(out, torch.ones(shape))


def test_the_identity_copies_into_out():
    x, out = noise(5), with_nan((5,))
    assert quantize(x, Quantizer(Float32()), out=out).values is out and torch.equal(out, x)


TAKES_OUT = {
    "fake_quantize": (lambda x, out: fake_quantize(x, E4M3, out=out), torch.float32, torch.float32),
    "quantize": (lambda x, out: quantize(x, Quantizer(E4M3), out=out), torch.float32, torch.float32),
    "identity": (lambda x, out: quantize(x, Quantizer(Float32()), out=out), torch.float32, torch.float32),
    "encode": (lambda x, out: encode(x, E4M3, out=out), torch.float32, torch.uint8),
    "encode to two bytes": (lambda x, out: encode(x, FP16, out=out), torch.float32, torch.uint16),
    "decode": (lambda x, out: decode(x, E4M3, out=out), torch.uint8, torch.float32),
}
every_function = pytest.mark.parametrize(("call", "takes", "gives"), TAKES_OUT.values(), ids=TAKES_OUT)


@every_function
def test_an_out_of_another_shape_is_refused(call, takes, gives):
    for shape in ((3,), (3, 2), (2, 3, 1), ()):
        said = refusal(call, torch.ones(2, 3).to(takes), torch.zeros(shape, dtype=gives))
        assert said == f"out is {gives} of shape {shape} on cpu; expected contiguous {gives} of shape (2, 3) on cpu"


@every_function
def test_an_out_of_another_type_is_refused(call, takes, gives):
    for other in {torch.bfloat16, torch.int32, torch.float64, torch.uint8} - {gives}:
        said = refusal(call, torch.ones(2).to(takes), torch.zeros(2, dtype=other))
        assert said == f"out is {other} of shape (2,) on cpu; expected contiguous {gives} of shape (2,) on cpu"


@every_function
def test_an_out_elsewhere_is_refused(call, takes, gives):
    said = refusal(call, torch.ones(2).to(takes), torch.zeros(2, dtype=gives, device="meta"))
    assert said == f"out is {gives} of shape (2,) on meta; expected contiguous {gives} of shape (2,) on cpu"


@every_function
def test_an_out_with_gaps_is_refused(call, takes, gives):
    for out in (torch.zeros(3, 2, dtype=gives).t(), torch.zeros(2, 6, dtype=gives)[:, ::2]):
        said = refusal(call, torch.ones(2, 3).to(takes), out)
        assert said == f"out is {gives} of shape (2, 3) on cpu; expected contiguous {gives} of shape (2, 3) on cpu"


SHARES = "out shares memory with the input, or requires a gradient; pass a tensor of its own"


@pytest.mark.parametrize("call", [TAKES_OUT[name][0] for name in ("fake_quantize", "quantize", "identity")])
def test_the_input_itself_and_a_part_of_its_memory_are_refused(call):
    x = noise(6)
    before = x.clone()
    assert refusal(call, x, x) == refusal(call, x[:3], x[3:]) == refusal(call, x[1:4], x[2:5]) == SHARES
    assert torch.equal(x, before)


def test_codes_and_values_in_one_memory_are_refused():
    memory = torch.zeros(8)
    assert refusal(encode, memory[:2], E4M3, out=memory.view(torch.uint8)[8:10]) == SHARES
    assert refusal(decode, memory.view(torch.uint8)[:2], E4M3, out=memory[:2]) == SHARES


def test_an_out_that_requires_a_gradient_is_refused():
    assert refusal(fake_quantize, noise(3), E4M3, out=torch.zeros(3, requires_grad=True)) == SHARES


@BOTH_PATHS
@pytest.mark.parametrize("call", [fake_quantize, encode])
def test_a_refusal_leaves_out_as_it_was(call):
    out = torch.full((3,), 7.0) if call is fake_quantize else torch.full((3,), 7, dtype=torch.uint8)
    assert refusal(call, torch.ones(3), E4M3, rounding="stochastic", out=out).startswith("stochastic rounding needs")
    assert out.tolist() == [7, 7, 7]

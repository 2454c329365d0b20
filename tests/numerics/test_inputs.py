"""What no operation takes is refused with the way to convert it; nothing is converted in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import altgrad_core as ag

E4M3 = ag.load_format("e4m3")
EXPECTED = "expected float32, bfloat16, float16 or float64: convert it first, as"
WRONG = {
    "integers": (torch.tensor([3, 4]), f"x is torch.int64; {EXPECTED} x.float()"),
    "complex": (torch.tensor([1 + 2j]), f"x is torch.complex64; {EXPECTED} x.real"),
    "truth values": (torch.tensor([True]), f"x is torch.bool; {EXPECTED} x.float()"),
    "float8": (torch.ones(2).to(torch.float8_e4m3fn), f"x is torch.float8_e4m3fn; {EXPECTED} x.float()"),
    "sparse": (
        torch.eye(2).to_sparse(),
        "x is of layout torch.sparse_coo; expected a dense tensor, as x.to_dense()",
    ),
    "numpy": (np.ones(2), "x is a numpy.ndarray; expected a torch.Tensor, as torch.as_tensor(x)"),
    "a list": ([1.0], "x is a builtins.list; expected a torch.Tensor, as torch.as_tensor(x)"),
}
GEOMETRY = ag.Geometry.of(E4M3)
CALLS = {
    "quantize": lambda x: ag.quantize(x, ag.Quantizer(E4M3)),
    "fake_quantize": lambda x: ag.fake_quantize(x, E4M3),
    "identity": lambda x: ag.quantize(x, ag.Quantizer(ag.load_format("fp32"))),
    "encode": lambda x: ag.encode(x, E4M3),
    "rung": GEOMETRY.rung,
    "position": GEOMETRY.position,
    "spacing": GEOMETRY.spacing,
    "walk": lambda x: ag.walk(x, x, GEOMETRY, gradient=x),
    "stochastic_walk": lambda x: ag.stochastic_walk(x, x, GEOMETRY, gradient=x, key=1),
    "update_velocity": lambda x: ag.update_velocity(x, x, 0.9),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", WRONG)
def test_a_tensor_of_another_kind_is_refused(call, kind):
    x, said = WRONG[kind]
    with pytest.raises(ag.FormatError) as caught:
        CALLS[call](x)
    name = {"fake_quantize": "quantize", "identity": "quantize"}.get(call, call)
    assert str(caught.value) == f"{name}: {said}"


def test_a_nested_tensor_is_refused():
    with pytest.raises(ag.FormatError, match=r"quantize: x is a nested tensor; pass its parts, as x.unbind\(\)"):
        ag.fake_quantize(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), E4M3)


@pytest.mark.parametrize("kind", WRONG)
def test_a_scale_of_what_is_no_amax_is_refused(kind):
    x, said = WRONG[kind]
    with pytest.raises(ag.FormatError) as caught:
        ag.scale_of(x, ag.Quantizer(E4M3))
    assert str(caught.value).startswith(f"scale_of: a{said.replace('x is', 'max is').partition(';')[0]}")


X = torch.ones(2)
WRONG_HOW = {
    "quantize": lambda: ag.quantize(X, E4M3),
    "scale_of": lambda: ag.scale_of(X, E4M3),
    "fake_quantize": lambda: ag.fake_quantize(X, "e4m3"),
    "encode": lambda: ag.encode(X, "e4m3"),
    "decode": lambda: ag.decode(torch.ones(2, dtype=torch.uint8), "e4m3"),
    "walk": lambda: ag.walk(X, X, E4M3, gradient=X),
    "stochastic_walk": lambda: ag.stochastic_walk(X, X, E4M3, gradient=X, key=1),
    "adam_walk": lambda: ag.adam_walk(X, X, {}, E4M3, rungs=1.0, betas=(0.9, 0.99), eps=1e-8),
}


@pytest.mark.parametrize("operation", WRONG_HOW)
def test_a_format_in_place_of_a_quantizer_or_a_name_is_refused_with_what_to_pass(operation):
    with pytest.raises(ag.FormatError, match=rf'{operation}: \w+ is a .*; expected .*as .*load_format\("e4m3"\)'):
        WRONG_HOW[operation]()


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (np.ones(2, np.uint8), "codes is a numpy.ndarray; expected a torch.Tensor, as torch.as_tensor(codes)"),
        (
            torch.eye(2, dtype=torch.uint8).to_sparse(),
            "codes is of layout torch.sparse_coo; expected a dense tensor, as codes.to_dense()",
        ),
    ],
)
def test_codes_of_another_kind_are_refused(codes, said):
    with pytest.raises(ag.FormatError) as caught:
        ag.decode(codes, E4M3)
    assert str(caught.value) == f"decode: {said}"


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_torchs_default_type_changes_nothing(default):
    x = torch.randn(4, 40, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    scalings = [ag.Scaling("none"), ag.Scaling(), ag.Scaling(granularity="block:32"), ag.Scaling(granularity="column")]
    hows = [ag.Quantizer(E4M3, scaling=scaling) for scaling in scalings]
    before = [ag.quantize(x, how) for how in hows]
    torch.set_default_dtype(default)
    try:
        for how, expected in zip(hows, before, strict=True):
            done = ag.quantize(x, how)
            assert torch.equal(done.values, expected.values) and done.values.dtype == torch.float32
            assert torch.equal(done.scale, expected.scale) and done.scale.dtype == torch.float32
        assert ag.fake_quantize(x, E4M3, rounding="to-odd").dtype == torch.float32
        assert ag.decode(ag.encode(x, E4M3), E4M3).dtype == torch.float32
        assert GEOMETRY.value(GEOMETRY.position(x)).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)

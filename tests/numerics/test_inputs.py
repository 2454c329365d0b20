"""What no operation takes is refused with the way to convert it; nothing is converted in silence."""

from __future__ import annotations

import re

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
    what = {"walk": "weight", "stochastic_walk": "weight", "update_velocity": "velocity"}.get(call, "x")
    expected = re.sub(r"\bx\b", what, said)
    assert str(caught.value) == f"{name}: {expected}"


def test_a_nested_tensor_is_refused():
    with pytest.raises(ag.FormatError, match=r"quantize: x is a nested tensor; pass its parts, as x.unbind\(\)"):
        ag.fake_quantize(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), E4M3)


@pytest.mark.parametrize("kind", WRONG)
def test_a_scale_of_what_is_no_amax_is_refused(kind):
    x, said = WRONG[kind]
    with pytest.raises(ag.FormatError) as caught:
        ag.scale_of(x, ag.Quantizer(E4M3))
    assert str(caught.value).startswith(f"scale_of: a{said.replace('x is', 'max is').partition(';')[0]}")


READS = {
    **{name: call for name, call in CALLS.items() if name not in ("walk", "stochastic_walk", "update_velocity")},
    "at a scale": lambda x: ag.quantize(x, ag.Quantizer(E4M3), scale=torch.tensor(0.3)),
    "by chance": lambda x: ag.quantize(x, ag.Quantizer(E4M3, "stochastic"), key=1),
    "rows": lambda x: ag.quantize(x, ag.Quantizer(E4M3, scaling=ag.Scaling(granularity="row"))),
    "movement": lambda x: GEOMETRY.movement(x, x + 1, x),
    "walk": lambda x: ag.walk(weight := torch.ones(1), torch.ones(1), GEOMETRY, gradient=x) and weight,
    "adam_walk": lambda x: ag.adam_walk(weight := torch.ones(1), x, begun(weight), GEOMETRY, **ADAM) and weight,
}


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_view_whose_memory_has_the_other_sign_is_read_as_what_it_is(operation, dtype, path):
    x = (
        torch.tensor([1 + 2j], dtype={torch.float32: torch.complex64, torch.float16: torch.complex32}[dtype])
        .conj()
        .imag
    )
    assert x.is_neg() and x.is_contiguous() and x.item() == -2
    plain = torch.tensor([-2.0], dtype=dtype)
    assert str(READS[operation](x)) == str(READS[operation](plain))


LONG, SHORT = torch.ones(64), torch.ones(2)
ROW, ADAM = ag.Quantizer(E4M3, scaling=ag.Scaling(granularity="row")), {"rungs": 1.0, "betas": (0.9, 0.99), "eps": 1e-8}
AT_SHORT = ag.Geometry.of(E4M3, SHORT)
UNFIT = {
    "quantize": (
        lambda: ag.quantize(LONG.view(4, 16), ROW, scale=SHORT),
        r"scale is torch.float32 of shape \(2,\) on cpu; expected torch.float32 of shape \(4, 1\) on cpu, as quantize returns it",
    ),
    "quantize (a number)": (
        lambda: ag.quantize(LONG, ag.Quantizer(E4M3), scale=0.5),
        "scale is a builtins.float; expected",
    ),
    "quantize (two scales)": (
        lambda: ag.quantize(LONG, ag.Quantizer(E4M3), scale=SHORT),
        r"of shape \(2,\) .* of shape \(\)",
    ),
    "quantize (float64)": (
        lambda: ag.quantize(LONG, ag.Quantizer(E4M3), scale=SHORT[0].double()),
        "scale is torch.float64",
    ),
    "encode": (lambda: ag.encode(LONG, E4M3, scale=SHORT), r"scale has shape \(2,\); expected one that broadcasts"),
    "encode (rows)": (lambda: ag.encode(LONG.view(4, 16), ROW, scale=SHORT), r"of shape \(2,\) .* of shape \(4, 1\)"),
    "decode": (lambda: ag.decode(LONG.to(torch.uint8), E4M3, scale=SHORT), r"scale has shape \(2,\)"),
    "position": (lambda: AT_SHORT.position(LONG), r"scale has shape \(2,\); expected one that broadcasts to .*\(64,\)"),
    "rung": (lambda: AT_SHORT.rung(LONG), r"scale has shape \(2,\)"),
    "spacing": (lambda: AT_SHORT.spacing(LONG), r"scale has shape \(2,\)"),
    "value": (lambda: AT_SHORT.value(LONG), r"scale has shape \(2,\)"),
    "movement": (lambda: AT_SHORT.movement(LONG, LONG, LONG), r"scale has shape \(2,\)"),
    "walk": (
        lambda: ag.walk(LONG.clone(), SHORT, GEOMETRY, gradient=LONG),
        r"direction has shape \(2,\) and is on cpu; expected those of weight, \(64,\) on cpu",
    ),
    "walk (gradient)": (lambda: ag.walk(LONG.clone(), LONG, GEOMETRY, gradient=SHORT), r"gradient has shape \(2,\)"),
    "walk (trail)": (
        lambda: ag.walk(LONG.clone(), LONG, GEOMETRY, gradient=LONG, trail=SHORT.int()),
        "trail has shape",
    ),
    "walk (trail of floats)": (
        lambda: ag.walk(LONG.clone(), LONG, GEOMETRY, gradient=LONG, trail=LONG.clone()),
        "trail is torch.float32; expected torch.int32",
    ),
    "walk (scale)": (lambda: ag.walk(LONG.clone(), LONG, AT_SHORT, gradient=LONG), r"scale has shape \(2,\)"),
    "stochastic_walk": (
        lambda: ag.stochastic_walk(LONG.clone(), SHORT, GEOMETRY, gradient=LONG, key=1),
        r"direction has shape \(2,\)",
    ),
    "adam_walk": (
        lambda: ag.adam_walk(LONG.clone(), LONG, {}, GEOMETRY, **ADAM),
        "state has no 'exp_avg'; fill it by begin_moments",
    ),
    "adam_walk (moments)": (
        lambda: ag.adam_walk(LONG.clone(), LONG, begun(SHORT), GEOMETRY, **ADAM),
        r"exp_avg has shape \(2,\)",
    ),
    "update_velocity": (
        lambda: ag.update_velocity(LONG.clone(), SHORT, 0.9),
        r"gradient has shape \(2,\) and is on cpu; expected those of velocity",
    ),
}


def begun(weight):
    """The state of Adam before its first step."""
    state = {}
    ag.begin_moments(state, weight)
    return state


@pytest.mark.parametrize("what", UNFIT)
def test_tensors_that_do_not_go_together_are_refused_and_not_read_beyond_their_ends(what):
    call, said = UNFIT[what]
    with pytest.raises(ag.FormatError, match=f"^{what.partition(' ')[0]}: .*{said}"):
        call()


@pytest.mark.parametrize("key", [1.5, 2**63, -(2**63) - 1])
def test_a_key_that_is_no_number_of_64_bits_is_refused(key):
    with pytest.raises(ag.FormatError, match="expected a whole number of 64 bits"):
        ag.quantize(LONG, ag.Quantizer(E4M3, "stochastic"), key=key)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_gradients_and_directions_of_other_types_walk_as_their_values_do(dtype, momentum):
    """On the CPU; elsewhere tensor operations take them anyway."""
    start, along, by = (
        torch.linspace(-3, 3, 64),
        torch.linspace(-2, 2, 64).to(dtype),
        torch.linspace(-1, 2, 64).to(dtype),
    )
    mine, theirs = start.clone(), start.clone()
    ag.walk(mine, along.clone(), GEOMETRY, gradient=by, momentum=momentum)
    ag.walk(theirs, along.float(), GEOMETRY, gradient=by.float(), momentum=momentum)
    tolerance = 1e-6 if momentum is None or dtype == torch.float64 else 0.02  # a velocity is rounded to its own type
    torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def test_what_is_updated_in_place_is_updated_however_it_lies_in_memory():
    """An array of NumPy made of a tensor whose elements do not lie side by side would be a copy."""
    weights = [torch.linspace(-3, 3, 64).view(8, 8) for _ in range(2)]
    velocities = [torch.ones(8, 16)[:, ::2], torch.ones(8, 8)]
    trails = [torch.zeros(8, 16, dtype=torch.int32)[:, ::2], torch.zeros(8, 8, dtype=torch.int32)]
    states = [begun(weight) for weight in weights]
    states[0]["exp_avg"], states[0]["exp_avg_sq"] = torch.zeros(8, 16)[:, ::2], torch.zeros(8, 16)[:, ::2]
    for weight, velocity, trail, state in zip(weights, velocities, trails, states, strict=True):
        ag.walk(weight, velocity, GEOMETRY, gradient=weight.clone(), momentum=0.5, trail=trail)
        ag.adam_walk(weight, weight.clone(), state, GEOMETRY, **ADAM)
    for mine, theirs in (weights, velocities, trails, [state["exp_avg"] for state in states]):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    assert trails[0].any()


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
    "Geometry.of": lambda: ag.Geometry.of(X, E4M3),
}


@pytest.mark.parametrize("operation", WRONG_HOW)
def test_a_format_in_place_of_a_quantizer_or_a_name_is_refused_with_what_to_pass(operation):
    with pytest.raises(ag.FormatError, match=rf'{operation}: \w+ is a .*; expected .*as .*load_format\("e4m3"\)'):
        WRONG_HOW[operation]()


@pytest.mark.parametrize("view", ["rung", "position", "value", "spacing"])
def test_the_identity_has_no_grid_to_look_at(view):
    with pytest.raises(ag.FormatError, match='format "fp32" is the identity: it has no grid'):
        getattr(ag.Geometry.of(ag.Float32()), view)(X)


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

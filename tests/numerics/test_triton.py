"""The Triton kernels give the bits and the counts of the reference: run in Triton's interpreter, on tensors of the CPU."""

from __future__ import annotations

import math
import warnings
from itertools import product

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.numerics.backends import reference, triton
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import derive_key, operand_key
from altgrad_core.numerics.rounding import MODES as NAMED
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.testing.exact import assert_same_bits, landmarks, random_bits

pytest.importorskip("triton")
FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
MODES = [*NAMED, "stochastic:1", "stochastic:7", "stochastic:23"]
SCALES = [1.0, 2.0**-20, 0.3, 2.0**-126, 2.0**126, 3e-42, 2.0**-130, math.nan]
TYPES = [torch.float32, torch.bfloat16, torch.float16]
RULES = [
    *(Scaling("none"), Scaling("amax"), Scaling("amax", "exact"), Scaling("amax", "mx-floor", margin=2)),
    *(Scaling("amax", rounding, granularity=name) for rounding in ("up", "exact") for name in ("row", "column")),
    *(Scaling("amax", rounding, granularity=name) for rounding in ("up", "exact") for name in ("block:7", "block:32")),
    *(Scaling("amax", rounding, granularity=name) for rounding in ("up", "exact") for name in ("tile:3x20", "tile:64x128")),
    Scaling(rounding="mx-floor", granularity="block:32", scale_format="e8m0"),
    Scaling(rounding="exact", granularity="block:16", scale_format="e4m3"),
    Scaling(rounding="up", granularity="tile:2x16", scale_format="e4m3", margin=1),
]  # fmt: skip
SMALL = [(), (1, 1), (64,), (3, 40), (2, 3, 96), (7, 83), (0,), (3, 0)]
SHAPES = [*SMALL, (3, 1030), (2, 5000), (200, 37)]
HARD = [(name, mode, overflow) for name, mode, overflow in product(FORMATS, MODES, ("saturate", "specials"))]
TILED = list(product(["e4m3", "e5m2", "e7m0", "e0m7", "bf16", "e8m0"], MODES, RULES, TYPES))


def hard_values(format, scale):
    """Random bit patterns, the landmarks of the format, and all that is no number."""
    points = landmarks(format)[:: 1 + format.grid.origin // 300]
    others = torch.tensor([math.inf, -math.inf, math.nan, 1e-45, -1e-45, 3.4e38, -3.4e38])
    return torch.cat([random_bits(1001), points * (scale if scale == scale else 1.0), others])


def waves(shape, dtype=torch.float32, *, hard=True):
    """Numbers of many magnitudes; where there is room, also NaN, infinity, a subnormal number and zeros."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=generator) * torch.randn(shape, generator=generator).mul(4).exp()
    if x.numel() > 50 and hard:
        x.view(-1)[7], x.view(-1)[9], x.view(-1)[20] = math.nan, math.inf, 1e-42
        x.view(-1)[32:48] = 0.0
    return x.to(dtype)


def assert_same(got, expected, x):
    assert_same_bits(got.values, expected.values, x)
    assert torch.equal(got.scale.nan_to_num(-1.0), expected.scale.nan_to_num(-1.0))
    assert got.scale.shape == expected.scale.shape and got.tally.amax.dtype == torch.float32
    assert [float(count) for count in got.tally] == [float(count) for count in expected.tally]
    assert all(count.shape == () for count in got.tally[1:])


def check_hard(name, mode, overflow, scales=SCALES):
    format, how = FORMATS[name], Quantizer(FORMATS[name], mode, "none", overflow)
    for number in scales:
        x, scale = hard_values(format, number), torch.tensor(number)
        assert_same(*(one.quantize(x, how, scale=scale, key=99) for one in (triton, reference)), x)
        check_codes(x, how, scale)


def check_codes(x, how, scale):
    kind = torch.uint8 if how.target.bits <= 8 else torch.uint16
    got, expected = torch.empty(x.shape, dtype=kind), torch.empty(x.shape, dtype=kind)
    nans = [one.encode(x, how, scale=scale, key=99, out=out) for one, out in ((triton, got), (reference, expected))]
    if scale == scale:  # at a scale that is NaN a code has no meaning
        sound = ~x.isnan() if how.target.nan_code is None else slice(None)
        assert torch.equal(got.int()[sound], expected.int()[sound])
    assert how.target.nan_code is not None or nans[0] == nans[1]


def check_tiled(name, mode, rule, dtype, shapes=SHAPES):
    for shape, nonfinite, hard in product(shapes, ("auto", "block"), (True, False)):
        x, how = waves(shape, dtype, hard=hard), Quantizer(FORMATS[name], mode, rule, nonfinite=nonfinite)
        expected = reference.quantize(x, how, key=5)
        assert_same(triton.quantize(x, how, key=5), expected, x)
        if nonfinite == "auto":
            given = expected.scale
            assert_same(triton.quantize(x, how, scale=given, key=5), reference.quantize(x, how, scale=given, key=5), x)
            amax = triton.amax(x, how.tiling)
            assert torch.equal(amax, reference.amax(x, how.tiling))
            assert torch.equal(triton.scale(amax, how), reference.scale(amax, how))


@pytest.mark.parametrize("start", range(16))
def test_a_sample_of_formats_and_modes_gives_the_bits_of_the_reference(start):
    check_hard(*HARD[start * 31 % len(HARD)], scales=[SCALES[start % 8], SCALES[(start + 3) % 8]])


@pytest.mark.parametrize("start", range(24))
def test_a_sample_of_tilings_gives_the_bits_of_the_reference(start):
    check_tiled(*TILED[(start * 997 + 5) % len(TILED)], shapes=[SMALL[start % len(SMALL)]])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode", "overflow"), HARD)
def test_every_format_and_mode_gives_the_bits_of_the_reference(name, mode, overflow):
    check_hard(name, mode, overflow)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), list(product(["e4m3", "e5m2", "e7m0", "e0m7", "bf16", "e8m0"], MODES)))
def test_every_tiling_and_type_gives_the_bits_of_the_reference(name, mode):
    mine = [case for case in TILED if case[:2] == (name, mode)]
    for turn, case in enumerate(mine, start=MODES.index(mode)):
        check_tiled(*case, shapes=[SHAPES[turn % len(SHAPES)]])  # all shapes of all cases would take hours


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["nearest-even", "stochastic"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_all_two_byte_inputs_give_the_bits_of_the_reference(dtype, mode):
    x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
    for name, scale in product(("e4m3", "e7m0", "bf16"), (0.7, 2.0**-3, 2.0**-120)):
        how = Quantizer(FORMATS[name], mode, "none")
        assert_same(*(one.quantize(x, how, scale=torch.tensor(scale), key=9) for one in (triton, reference)), x)


@pytest.mark.parametrize("bias", [110, -90])
def test_formats_far_from_one_are_rounded_alike(bias):
    format = Minifloat(4, 3, bias=bias)
    for mode in MODES[:6]:
        x, how = hard_values(format, 1.0), Quantizer(format, mode, "none", "specials")
        assert_same(*(one.quantize(x, how, key=99) for one in (triton, reference)), x)


def test_a_transposed_tensor_draws_by_its_own_order():
    for rule in ("amax", Scaling(granularity="block:32"), Scaling("amax", "exact", granularity="row")):
        x, how = waves((96, 40)).T, Quantizer(FORMATS["e4m3"], "stochastic", rule)
        assert_same(*(one.quantize(x, how, key=5) for one in (triton, reference)), x)


def test_values_go_to_out_and_words_are_those_of_any_key():
    x, out = waves((3, 400)), torch.empty(3, 400)
    for key in (0, 1, 2**63 - 1, derive_key(7, "data", 3)):
        how = Quantizer(FORMATS["e4m3"], "stochastic")
        assert triton.quantize(x, how, key=key, out=out).values is out
        assert_same_bits(out, reference.quantize(x, how, key=key).values, x)


@pytest.mark.parametrize(("path", "step", "call", "replica"), [
    ("a", 0, 0, 0), ("a/b~c", 9, 1, 12), ("l" * 110, 10, 0, 0), ("ä" * 60, 10**18, 10**17 - 1, 3), ("b" * 82, 12, 0, 0),
])  # fmt: skip
def test_a_key_is_hashed_as_the_host_does(path, step, call, replica):
    own = ((7, "rounding", "train", path, "weight"), replica, torch.tensor(step), torch.tensor(call))
    assert torch.equal(triton.key(*own), reference.key(*own))
    assert int(reference.key(*own)) == operand_key(own[0], step, call=call, replica=replica)


def test_a_key_on_the_device_draws_the_words_of_the_number():
    x = waves((3, 400))
    for rule in ("amax", Scaling(granularity="block:32")):
        how = Quantizer(FORMATS["e4m3"], "stochastic", rule)
        expected = reference.quantize(x, how, key=2**62 + 5)
        for one in (triton, reference):
            assert_same(one.quantize(x, how, key=torch.tensor(2**62 + 5)), expected, x)


@pytest.mark.parametrize("name", FORMATS)
def test_codes_have_the_values_of_the_reference(name):
    format = FORMATS[name]
    codes = torch.arange(2**format.bits).to(torch.uint8 if format.bits <= 8 else torch.uint16)
    for scale in (1.0, 0.3, 2.0**-20):
        got, expected = torch.empty(len(codes)), torch.empty(len(codes))
        triton.decode(codes, format, scale=scale, out=got)
        reference.decode(codes, format, scale=scale, out=expected)
        assert torch.equal(got.nan_to_num(9.5), expected.nan_to_num(9.5))


def test_it_takes_cuda_tensors_and_no_others():
    case = Case("quantize", "cuda", torch.float32, True, (FORMATS["e4m3"],))
    assert triton.supports(case) and triton.supports(case._replace(is_contiguous=False))
    for changed in (
        {"device": "cpu"},
        {"device": "xpu"},
        {"device": "mps"},
        {"dtype": torch.float64},
    ):
        assert not triton.supports(case._replace(**changed))


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, "Triton is not installed (pip install altgrad[triton])"),
        ("2.1.0", "Triton 2.1.0 is too old: expected 3.4 or newer"),
        ("3.4.0+git1234", None),
    ],
)
def test_without_a_usable_triton_another_backend_quantizes_and_the_reason_is_given(monkeypatch, version, said):
    def installed(name):
        if version is None:
            raise triton.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(triton.metadata, "version", installed)
    triton.is_usable.cache_clear()
    case = Case("quantize", "cuda", torch.float32, True, (FORMATS["e4m3"],))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert triton.supports(case) == (said is None)
    assert [str(one.message).partition(";")[0] for one in caught] == ([] if said is None else [said])
    triton.is_usable.cache_clear()


def test_a_device_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "T4")
    assert triton._problem() == "T4 has compute capability 7.5: expected 8.0 or more"

"""The path of tensor operations equals the reference bit for bit, counts included, as it stands and compiled."""

from __future__ import annotations

import math

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.numerics.backends import inductor, reference
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import derive_key, philox_words
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.testing.exact import assert_same_bits, landmarks, random_bits

FORMATS = {format.name: format for format in altgrad_formats()}
NAMES = ["e4m3", "e5m2", "e0m7", "e7m0", "e3m4", "bf16", "fp16", "binary8p3", "e4m3-fnuz"]
SAMPLE = [*(FORMATS[name] for name in NAMES), Minifloat(4, 3, bias=110), Minifloat(0, 15)]
SCALES = [1.0, 2.0**-20, 0.3, 2.0**-126, 2.0**126, 3e-42]
LAYOUTS = [
    Scaling(granularity="row"),
    Scaling(rounding="exact", granularity="row"),
    Scaling(granularity="block:32"),
    Scaling(rounding="exact", granularity="block:32"),
    Scaling(rounding="mx-floor", granularity="block:32", scale_format="e8m0"),
    Scaling(rounding="exact", granularity="block:16", scale_format="e4m3"),
    Scaling(granularity="block:7", margin=2),
]
TENSORS = [Scaling("none"), Scaling("amax"), Scaling("amax", "exact"), Scaling("amax", "mx-floor")]


def hard_values(format, scale=1.0):
    """Random bit patterns, the landmarks of the format, float32 subnormals and all that is no number."""
    points = landmarks(format)[:: 1 + format.grid.origin // 1000]
    others = torch.tensor([math.inf, -math.inf, math.nan, 1e-45, -1e-45, 1e-39, 3.4e38, -3.4e38])
    return torch.cat([random_bits(3001), points * scale, points, others])


def assert_same(got, expected, x):
    assert_same_bits(got.values, expected.values, x)
    assert torch.equal(got.scale, expected.scale) and got.scale.shape == expected.scale.shape
    assert [float(count) for count in got.tally] == [float(count) for count in expected.tally]
    assert got.tally.amax.dtype == torch.float32 and got.tally.amax.shape == ()
    assert all(count.dtype == torch.int64 and count.shape == () for count in got.tally[2:])


def supports(x, format, rounding):
    return inductor.supports(Case("quantize", x.device.type, x.dtype, True, (format,), rounding))


def assert_paths_agree(x, how, **given):
    assert supports(x.to("meta"), how.target, how.rounding)
    assert_same(inductor.quantize(x, how, **given), reference.quantize(x, how, **given), x)


def waves(shape, *, seed=3):
    """Numbers of many magnitudes; where there is room, also NaN, infinity, a subnormal number and zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) * torch.randn(shape, generator=generator).mul(4).exp()
    if x.numel() > 50:
        x.view(-1)[7], x.view(-1)[9], x.view(-1)[20] = math.nan, math.inf, 1e-42
        x.view(-1)[32:48] = 0.0
    return x


@pytest.mark.parametrize("rounding", inductor.ROUNDINGS)
@pytest.mark.parametrize("format", SAMPLE, ids=lambda format: format.name)
def test_random_bit_patterns_give_the_bits_of_the_reference(format, rounding):
    for scale in SCALES:
        x = hard_values(format, scale)
        for overflow in ("saturate", "specials"):
            assert_paths_agree(x, Quantizer(format, rounding, "none", overflow), scale=torch.tensor(scale), key=99)


@pytest.mark.parametrize("rounding", inductor.ROUNDINGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_two_byte_inputs_give_the_bits_of_the_reference(dtype, rounding):
    x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
    for name in ("e0m7", "e4m3", "e7m0", "bf16"):
        for scale in (0.7, 2.0**-3):
            assert_paths_agree(x, Quantizer(FORMATS[name], rounding, "none"), scale=torch.tensor(scale), key=99)


@pytest.mark.parametrize("rule", [*TENSORS, *LAYOUTS], ids=str)
@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e7m0"])
def test_scales_of_tensors_rows_and_blocks_give_the_bits_of_the_reference(name, rule):
    for shape in [(), (64,), (3, 40), (2, 3, 96), (3, 1030), (0,), (3, 0)]:
        for rounding in ("nearest-even", "toward-positive", "stochastic"):
            how = Quantizer(FORMATS[name], rounding, rule)
            for x in (waves(shape), waves(shape).bfloat16()):
                assert_paths_agree(x, how, key=5)
                assert_paths_agree(x, how, key=5, scale=reference.quantize(x, how, key=5).scale)


def test_a_transposed_tensor_draws_by_its_own_order():
    for rule in ("amax", Scaling(granularity="block:32"), Scaling("amax", "exact", granularity="row")):
        assert_paths_agree(waves((96, 40)).T, Quantizer(FORMATS["e4m3"], "stochastic", rule), key=5)


def test_finite_quotients_beyond_float32_are_no_infinities():
    x = torch.tensor([1e30, -1e30, math.inf, -math.inf])
    how = Quantizer(FORMATS["e5m2"], "toward-zero", "none", "specials")
    got = inductor.quantize(x, how, scale=torch.tensor(2.0**-120))
    assert got.values.div(2.0**-120).tolist() == [57344.0, -57344.0, math.inf, -math.inf]
    assert (int(got.tally.infinite), int(got.tally.overflow)) == (2, 4)


def test_the_words_are_those_of_the_definition():
    for key in (0, 1, 2**63 - 1, derive_key(7, "data", 3)):
        got = inductor._words(torch.tensor(key), 5000)
        assert torch.equal(got, philox_words(key, 5000))


def test_values_go_to_out():
    x, how = waves((3, 40)), Quantizer(FORMATS["e4m3"])
    out = torch.empty_like(x)
    assert inductor.quantize(x, how, out=out).values is out
    assert_same_bits(out, reference.quantize(x, how).values, x)


def test_what_it_takes():
    x = torch.zeros(1)
    elsewhere = x.to("meta")
    assert supports(elsewhere, FORMATS["e4m3"], "stochastic") and not supports(x, FORMATS["e4m3"], "stochastic")
    assert not supports(elsewhere.double(), FORMATS["e4m3"], "nearest-even")
    assert not supports(elsewhere, FORMATS["e8m0"], "nearest-even")
    assert not any(supports(elsewhere, FORMATS["e4m3"], mode) for mode in ("nearest-odd", "to-odd", "stochastic:4"))
    assert not inductor.compiles(x)


@pytest.mark.parametrize("rule", [*TENSORS, *LAYOUTS], ids=str)
@pytest.mark.parametrize("rounding", inductor.ROUNDINGS)
def test_the_meta_device_gives_shapes_and_types(rounding, rule):
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.empty(4, 96, dtype=dtype, device="meta")
        how = Quantizer(FORMATS["e4m3"], rounding, rule, "specials")
        got, expected = inductor.quantize(x, how, key=1), reference.quantize(x, how, key=1)
        for mine, its in zip(
            (got.values, got.scale, *got.tally[1:]), (*expected[:2], *expected.tally[1:]), strict=True
        ):
            assert (mine.device.type, mine.dtype, mine.shape) == ("meta", its.dtype, its.shape)


def test_a_number_on_the_cpu_scales_a_tensor_elsewhere():
    x = torch.empty(4, 96, device="meta")
    got = inductor.quantize(x, Quantizer(FORMATS["e4m3"]), scale=torch.tensor(0.3))
    assert got.values.shape == x.shape and got.values.is_meta


@pytest.fixture
def compile_everywhere(monkeypatch):
    """Makes the pass be compiled whatever the device; gives the function that chooses a backend of torch.compile."""
    plain = torch.compile
    monkeypatch.setattr(inductor, "compiles", lambda x: True)
    inductor._compiled.cache_clear()
    yield lambda backend: monkeypatch.setattr(torch, "compile", lambda run, **how: plain(run, backend=backend, **how))
    inductor._compiled.cache_clear()


def test_new_sizes_keys_and_scales_compile_nothing_anew(compile_everywhere):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_everywhere(backend)
    how = Quantizer(FORMATS["e4m3"], "stochastic", Scaling(granularity="block:32"))
    for key, shape in enumerate([(4, 64), (3, 96), (2, 5, 320), (1024,)]):
        assert_paths_agree(waves(shape), how, key=derive_key(key))
    assert_paths_agree(waves((64, 64))[3:7].requires_grad_(), how, key=derive_key(5))
    assert len(graphs) == 1


def test_a_sweep_over_formats_is_compiled_to_its_end(compile_everywhere):
    compile_everywhere("eager")  # more graphs than Dynamo makes of one function
    for format in SAMPLE:
        assert_paths_agree(hard_values(format), Quantizer(format, "toward-zero", "none"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rounding"),
    [
        ("e4m3", "nearest-even"),
        ("e4m3", "toward-negative"),
        ("e4m3", "stochastic"),
        ("e7m0", "nearest-even"),
        ("bf16", "nearest-even"),
        ("bf16", "stochastic"),
    ],
)
def test_compiled_by_inductor_it_gives_the_bits_of_the_reference(compile_everywhere, name, rounding):
    how = Quantizer(FORMATS[name], rounding, "none", "specials")
    x = hard_values(how.target)
    for scale in (1.0, 2.0**-20, 2.0**126, 0.3):
        assert_paths_agree(x, how, scale=torch.tensor(scale), key=99)
    assert_paths_agree(x.bfloat16(), how, key=99)
    assert_paths_agree(waves((3, 96)), Quantizer(FORMATS[name], rounding, LAYOUTS[2]), key=5)

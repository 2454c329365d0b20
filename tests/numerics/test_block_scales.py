"""Scales of blocks, and their own formats: by exact fractions and by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core.numerics.ops import quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.testing.exact import round_exactly
from tests.numerics.test_blocks import E2M1, E4M3, FORMATS, bits, noise

NVFP4 = Scaling(rounding="exact", granularity="block:16", scale_format="e4m3")


NVFP4_UP = Scaling(rounding="up", granularity="block:16", scale_format="e4m3")


@pytest.mark.parametrize("scale_format", ["fp32", "e8m0"])
def test_a_block_of_zeros_or_without_finite_values_is_scaled_as_if_amax_were_one(scale_format):
    x = torch.tensor([[0.0, -0.0], [math.nan, math.inf], [896.0, -1.0], [math.nan, 448.0]])
    done = quantize(x, Quantizer(E4M3, scaling=Scaling(granularity="block:2", scale_format=scale_format)))
    assert done.scale.flatten().tolist() == [2.0**-8, 2.0**-8, 2.0, 1.0]
    expected = [[0.0, -0.0], [math.nan, 1.75], [896.0, -1.0], [math.nan, 448.0]]
    assert torch.equal(bits(done.values), bits(torch.tensor(expected)))
    assert (int(done.tally.nan), int(done.tally.infinite), int(done.tally.overflow)) == (2, 1, 1)


def test_a_block_of_zeros_beside_others_changes_none_of_them_at_e4m3_scales():
    x = noise(1, 32)
    x[:, 16:] = 0.0
    for scaling in (NVFP4, NVFP4_UP):
        both, alone = (quantize(part, Quantizer(E2M1, scaling=scaling)) for part in (x, x[:, :16]))
        assert torch.equal(both.values[:, :16], alone.values) and both.scale[0, 0] == alone.scale[0, 0]
        assert both.values[:, 16:].eq(0).all() and both.scale.isfinite().all() and both.scale.gt(0).all()


def e4m3_scales(amaxes, largest, rounding, margin):
    """The scale of a tensor in float32 times the E4M3 value of each block, by exact fractions; none is zero."""
    counted = [Fraction(amax) or Fraction(1) for amax in amaxes]
    top = Fraction(max(amaxes)) or Fraction(1)
    wanted = top / (Fraction(largest) * 448) * Fraction(2) ** margin
    if rounding == "up":
        tensor = next(Fraction(2) ** k for k in range(-126, 127) if wanted <= Fraction(2) ** k)
    else:
        tensor = Fraction(float(torch.tensor(float(wanted), dtype=torch.float32)))
    mode = "toward-positive" if rounding == "up" else "nearest-even"
    factor = 448 / top if rounding == "exact" else Fraction(2) ** margin / (Fraction(largest) * tensor)
    stored = [max(amax * factor, Fraction(1, 512)) for amax in counted]
    return [Fraction(round_exactly(value, E4M3.grid, mode)) * tensor for value in stored]


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["e2m1", "e4m3", "e0m7", "e5m2", "binary8p3"]),
    rounding=st.sampled_from(["up", "exact"]),
    margin=st.integers(-2, 2),
    amaxes=st.lists(st.one_of(st.just(0.0), st.floats(2.0**-60, 2.0**60, width=32)), min_size=1, max_size=12),
)
def test_e4m3_scales_are_those_of_exact_fractions(name, rounding, margin, amaxes):
    scaling = Scaling(rounding=rounding, granularity="block:16", scale_format="e4m3", margin=margin)
    x = torch.zeros(len(amaxes), 16)
    x[:, 3] = -torch.tensor(amaxes)
    expected = [float(scale) for scale in e4m3_scales(amaxes, FORMATS[name].largest, rounding, margin)]
    got = quantize(x, Quantizer(FORMATS[name], scaling=scaling)).scale
    assert got.flatten().tolist() == torch.tensor(expected, dtype=torch.float64).float().tolist()


@pytest.mark.usefixtures("either_path")
def test_a_tie_between_two_e4m3_scales_stays_a_tie():
    x = torch.zeros(1, 32)
    x[0, 0], x[0, 16] = (
        23.0,
        8.625,
    )  # 8.625 * 448 / 23 is 168, half-way between 160 and 176, whose codes are even and odd
    tensor_scale = torch.tensor(23.0 / (6 * 448), dtype=torch.float32).double()
    scales = quantize(x, Quantizer(E2M1, scaling=NVFP4)).scale
    assert scales.tolist() == [[(448 * tensor_scale).float().item(), (160 * tensor_scale).float().item()]]


@pytest.mark.usefixtures("either_path")
def test_an_e8m0_scale_reaches_both_ends_of_e8m0():
    x = torch.zeros(2, 32)
    x[0, 0], x[1, 0] = 2.0**-127 * 3, 2.0**127
    mx, fp32 = (Scaling(rounding="mx-floor", granularity="row", scale_format=name) for name in ("e8m0", "fp32"))
    assert quantize(x, Quantizer(E2M1, scaling=mx)).scale.tolist() == [[2.0**-127], [2.0**125]]
    assert quantize(x, Quantizer(E2M1, scaling=fp32)).scale.tolist() == [[2.0**-126], [2.0**125]]
    done = quantize(x, Quantizer(FORMATS["e0m7"], scaling=mx))  # whose largest value is 127 / 128, of exponent -1
    assert done.scale.tolist() == [[2.0**-125], [2.0**127]]
    assert torch.equal(quantize(x, Quantizer(E2M1, scaling=mx)).values, x)


def test_nvfp4_by_hand():
    x = torch.zeros(1, 48)
    x[0, 0], x[0, 16], x[0, 32] = 6 * 448.0, 12.5, 13.0  # the scale of the tensor is 1
    exact, up = (quantize(x, Quantizer(E2M1, scaling=scaling)) for scaling in (NVFP4, NVFP4_UP))
    assert (exact.scale.tolist(), up.scale.tolist()) == ([[448.0, 2.0, 2.25]], [[448.0, 2.25, 2.25]])
    assert exact.values[0, [0, 16, 32]].tolist() == [2688.0, 12.0, 13.5]  # 12.5 saturates
    assert (int(exact.tally.overflow), int(up.tally.overflow)) == (1, 0)

"""The Triton kernels of rungs, positions, values and spacings give the bits of the reference, in Triton's interpreter."""

from __future__ import annotations

import math

import pytest
import torch

from altgrad_core import load_format
from altgrad_core.numerics.backends import reference, triton
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.line import floored
from altgrad_core.testing.exact import landmarks, random_bits
from tests.numerics.moves import EIGHT, TABLE

pytest.importorskip("triton")
NAMES = (*EIGHT, "bf16", "fp16", "e2m1", "e3m2", "e4m3-fnuz", "binary8p3")
LINES = [*map(load_format, NAMES), floored(load_format("e4m3"), 4), floored(load_format("e5m2"), 2)]
SCALES = [1.0, 0.3, 2.0**-20, 3e-42, 1e30]
OPERATIONS = ("rung", "position", "spacing")


def hard(format, scale, dtype):
    """Rungs, ties, numbers beside them, random bits, subnormal numbers, infinities and NaN: (rows, 11)."""
    points = landmarks(format)[:: 1 + format.grid.origin // 200] * scale
    others = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45, 3.4e38, -3.4e38])
    x = torch.cat([points, random_bits(701), others]).float()
    return x[: len(x) // 11 * 11].view(-1, 11).to(dtype)


def assert_same(what, x, format, scale):
    got, expected = (getattr(one, what)(x, format, scale) for one in (triton, reference))
    assert got.dtype == expected.dtype and got.shape == expected.shape
    assert torch.equal(got.isnan(), expected.isnan())
    wrong = (got != expected) & ~expected.isnan()
    assert not wrong.any(), (what, format.name, x[wrong][:3], got[wrong][:3], expected[wrong][:3])


@pytest.mark.parametrize("format", LINES, ids=lambda format: format.name)
def test_places_are_those_of_the_reference(format):
    for number in SCALES if format.name in ("e4m3", "e7m0") else SCALES[1:3]:
        x, scale = hard(format, number, torch.float32), torch.tensor(number)
        for what in OPERATIONS:
            assert_same(what, x, format, scale)
        places = reference.position(x, format, scale).nan_to_num(0.0, 1e3, -1e3).clamp(-1e6, 1e6)
        assert_same("value", places, format, scale)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("what", OPERATIONS)
def test_other_types_strides_and_scales_of_rows(what, dtype):
    format = load_format("e5m2")
    x = hard(format, 0.3, dtype)
    rows = torch.logspace(-3, 3, len(x)).view(-1, 1)
    assert_same(what, x, format, rows)
    assert_same(what, x.T, format, rows.T)
    assert_same(what, x[:0], format, torch.tensor(0.3))


@pytest.mark.parametrize("what", [*OPERATIONS, "value"])
def test_a_grid_that_is_not_computed_is_left_to_others(what):
    dtype = torch.float64 if what == "value" else torch.float32
    assert triton.supports(Case(what, "cuda", dtype, False, (load_format("e4m3"),)))
    assert not triton.supports(Case(what, "cuda", dtype, False, (TABLE,)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("format", LINES[::3], ids=lambda format: format.name)
def test_movement_is_counted_as_by_the_reference(format, dtype):
    before = hard(format, 0.3, dtype).nan_to_num(nan=1.0)
    after = torch.where(torch.rand(before.shape) < 0.5, before, before * 1.1)
    gradient = torch.randint(-1, 2, before.shape).float()
    gradient[0, :3] = torch.tensor([math.nan, math.inf, -0.0])
    rows = torch.logspace(-3, 3, len(before)).view(-1, 1)
    for scale in (torch.tensor(0.3), rows):
        arguments = (before, after, gradient, format, scale)
        assert triton.movement(*arguments).tolist() == reference.movement(*arguments).tolist()
    arguments = (before.T, after.T, gradient.T, format, rows.T)
    assert triton.movement(*arguments).tolist() == reference.movement(*arguments).tolist()
    after[len(after) // 2, 4] = math.nan  # in one of several programs
    assert triton.movement(before, after, gradient, format, torch.tensor(0.3)).tolist() == [0, 0, 0, 0]
    assert triton.movement(*[before[:0]] * 3, format, torch.tensor(0.3)).tolist() == [0, 0, 0, 0]


def test_movement_on_a_grid_that_is_not_computed_is_left_to_others():
    assert triton.supports(Case("movement", "cuda", torch.float32, False, (load_format("e4m3"),)))
    assert not triton.supports(Case("movement", "cuda", torch.float32, False, (TABLE,)))

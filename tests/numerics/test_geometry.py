"""Rung position, its inverse and spacing: by hand, by formula, and the fast path against the reference."""

from __future__ import annotations

import math

import pytest
import torch
from altgrad_minifloat import altgrad_formats
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core.errors import FormatError
from altgrad_core.numerics import backends
from altgrad_core.numerics.backends import reference
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.testing.strategies import TableFormat, floats_near

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
NAMES = list(FORMATS)


def position(values, name, *, scale=1.0):
    return Geometry.of(FORMATS[name], scale).position(torch.tensor(values)).tolist()


def value(places, name, *, scale=1.0):
    return Geometry.of(FORMATS[name], scale).value(torch.tensor(places, dtype=torch.float64)).tolist()


def spacing(values, name, *, scale=1.0):
    return Geometry.of(FORMATS[name], scale).spacing(torch.tensor(values)).tolist()


def noise(count, format, *, seed=0):
    """Values in and beyond the range of a format, and random bit patterns."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(2**31), 2**31, (count,), generator=generator).to(torch.int32).view(torch.float32)
    return torch.cat([torch.randn(count, generator=generator) * format.largest / 2, bits])


def test_positions_are_rung_numbers_with_a_fraction():
    assert position([1.0, 1.0625, -1.0, 0.0, -0.0, 2.0**-10, -(2.0**-10)], "e4m3") == [56, 56.5, -56, 0, 0, 0.5, -0.5]
    assert position([1.0, 1.5, 2.0, 2.0**-63], "e7m0") == [63, 63.5, 64, 0.5]
    assert position([0.5, -0.25, 1 / 256], "e0m7") == [64, -32, 0.5]


def test_positions_go_on_beyond_the_ends_with_the_last_gap():
    assert position([448.0, 480.0, 464.0, -512.0], "e4m3") == [126, 127, 126.5, -128]
    assert position([1.0, 2.0], "e0m7") == [128, 256]
    assert value([127.0, 126.5, -128.0], "e4m3") == [480, 464, -512]


def test_positions_of_infinity_and_nan_are_infinity_and_nan():
    for name in ("e4m3", "e8m0"):
        got = position([math.inf, -math.inf, math.nan], name)
        assert got[:2] == [math.inf, -math.inf] and math.isnan(got[2])


def test_a_format_without_zero_counts_from_its_lowest_value():
    geometry = Geometry.of(FORMATS["e8m0"])
    assert (geometry.lowest_rung, geometry.highest_rung) == (0, 254)
    assert position([2.0**-127, 1.0, 1.5], "e8m0") == [0, 127, 127.5]


def test_the_ends_of_the_rungs_and_the_binade_are_those_of_the_format():
    geometry = Geometry.of(FORMATS["e4m3"], 0.5)
    assert (geometry.lowest_rung, geometry.highest_rung, geometry.rungs_per_binade) == (-126, 126, 8)
    assert (geometry.format, geometry.scale.item()) == (FORMATS["e4m3"], 0.5)
    assert Geometry.of(TableFormat((0.0, 1.0))).rungs_per_binade is None


def test_spacing_is_the_cell_away_from_zero():
    assert spacing([1.0, -1.0, 0.99, 1.99, 2.0, 0.0, -0.0, 1e-30], "e4m3") == pytest.approx(
        [0.125, 0.125, 0.0625, 0.125, 0.25, 2.0**-9, 2.0**-9, 2.0**-9], rel=0
    )
    assert spacing([448.0, 1000.0, -448.0, -1000.0], "e4m3") == [32, 32, 32, 32]
    assert spacing([1.0, -1.0, 1.5, 0.75], "e7m0") == [1, 1, 1, 0.5]
    assert set(spacing([0.0, 0.3, -0.99, 5.0], "e0m7")) == {1 / 128}


@pytest.mark.parametrize("name", ["e2m5", "e4m3", "e5m2", "e6m1", "e7m0", "bf16", "fp16"])
def test_spacing_of_normal_values_is_two_to_the_exponent_less_mantissa_bits_times_scale(name):
    format, scale = FORMATS[name], 2.0**-3
    w = (
        torch.randn(1000, generator=torch.Generator().manual_seed(0))
        .abs()
        .clamp(format.quantum * 2**format.mantissa_bits)
    )
    w = w[w < format.largest * 0.9] * scale
    exponents = torch.frexp(w / scale).exponent - 1
    expected = torch.ldexp(torch.full_like(w, scale), exponents - format.mantissa_bits)
    assert torch.equal(Geometry.of(format, scale).spacing(w), expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_rung_is_at_its_number_and_comes_back(name):
    grid, scale = FORMATS[name].grid, 2.0**-4
    geometry = Geometry.of(FORMATS[name], scale)
    w = torch.tensor(grid.values, dtype=torch.float64).mul(scale).float()
    numbers = torch.arange(-grid.origin, len(grid) - grid.origin)
    exact = w.double() == torch.tensor(grid.values, dtype=torch.float64) * scale  # the lowest of e8m0 are too small
    assert torch.equal(geometry.position(w)[exact], numbers.double()[exact])
    assert torch.equal(geometry.rung(w)[exact], numbers.int()[exact])
    assert torch.equal(geometry.value(numbers), w)


@pytest.mark.parametrize("name", NAMES)
def test_value_inverts_position(name):
    format = FORMATS[name]

    @settings(max_examples=30, deadline=None)
    @given(st.lists(floats_near(format, specials=False), min_size=1, max_size=20))
    def check(values):
        w = torch.tensor(values)
        geometry = Geometry.of(format)
        error = (geometry.value(geometry.position(w)).double() - w.double()).abs()
        assert bool((error <= torch.maximum(w.abs().double() * 2.0**-23, geometry.spacing(w) * 2.0**-40)).all())

    check()


@settings(max_examples=50, deadline=None)
@given(places=st.lists(st.floats(-300, 300), min_size=2, max_size=20), name=st.sampled_from(NAMES))
def test_a_higher_position_is_never_a_lower_value(places, name):
    values = value(sorted(places), name)
    assert values == sorted(values)


@pytest.mark.parametrize("name", ["e0m7", "e4m3", "e7m0"])
@pytest.mark.parametrize("power", [2.0**-9, 2.0**5])
def test_nothing_changes_when_weights_and_scale_move_by_a_power_of_two(name, power):
    w = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 0.1
    here, there = Geometry.of(FORMATS[name], 2.0**-5), Geometry.of(FORMATS[name], 2.0**-5 * power)
    assert torch.equal(here.position(w), there.position(w * power))
    assert torch.equal(here.rung(w), there.rung(w * power))
    assert torch.equal(here.spacing(w) * power, there.spacing(w * power))
    u = here.position(w) + 0.3
    assert torch.equal(here.value(u) * power, there.value(u))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1.0, 2.0**-6, 0.3])
def test_the_fast_path_gives_the_bits_of_the_reference(name, scale, monkeypatch):
    format = FORMATS[name]
    w, geometry = noise(5000, format), Geometry.of(format, scale)
    rungs = len(format.grid)
    u = torch.cat([geometry.position(w), torch.linspace(-rungs, rungs, 4999, dtype=torch.float64), w.double()])
    u = u[u.abs() < 1e9]
    fast = geometry.position(w), geometry.rung(w), geometry.value(u)
    monkeypatch.setattr(backends, "ORDER", ("reference",))
    slow = geometry.position(w), geometry.rung(w), geometry.value(u)
    for got, expected in zip(fast, slow, strict=True):
        assert torch.equal(got.nan_to_num(nan=12345.0), expected.nan_to_num(nan=12345.0))


def test_a_value_just_above_a_float32_tie_is_rounded_up_on_both_paths(monkeypatch):
    odd = torch.arange(1, 2000, 2, dtype=torch.float64)
    u = 50 + odd * 2.0**-21 + 2.0**-44  # in e4m3's cell of 20 bits, half a float32 ulp and a little more
    geometry = Geometry.of(FORMATS["e4m3"])
    expected = (FORMATS["e4m3"].decode(50) + (u - 50) * 2.0**-4).float()
    assert torch.equal(geometry.value(u), expected)
    monkeypatch.setattr(backends, "ORDER", ("reference",))
    assert torch.equal(geometry.value(u), expected)


@pytest.mark.usefixtures("either_path")
@pytest.mark.parametrize("name", ["e0m7", "e4m3", "e8m0"])
@pytest.mark.parametrize("shape", [(6, 1), (6, 50)], ids=["rows", "elements"])
def test_each_element_is_measured_at_its_own_scale(name, shape):
    scales = torch.tensor([1.0, 2.0**-9, 0.3, 7e-4, 2.0**20, 123.456]).view(6, 1).expand(shape)
    w = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)) * scales
    together = Geometry.of(FORMATS[name], scales)
    u = together.position(w)
    for row in range(6):
        alone = Geometry.of(FORMATS[name], scales[row, 0].item())
        assert torch.equal(u[row], alone.position(w[row]))
        assert torch.equal(together.rung(w)[row], alone.rung(w[row]))
        assert torch.equal(together.value(u)[row], alone.value(u[row]))
        assert torch.equal(together.spacing(w)[row], alone.spacing(w[row]))


class Changing:
    """A source whose format and scale change, as an operand's do."""

    def __init__(self):
        self.format, self.scales = FORMATS["e4m3"], torch.tensor(1.0)

    def fix_scale(self):
        self.scales = 2 * self.scales


def test_a_geometry_is_live():
    source = Changing()
    geometry, w = Geometry(source), torch.tensor([1.0])
    assert geometry.position(w).item() == 56
    source.scales = torch.tensor(2.0)
    assert geometry.position(w).item() == 48
    source.format = FORMATS["e7m0"]
    assert (geometry.position(w).item(), geometry.format.name, geometry.rungs_per_binade) == (62, "e7m0", 1)
    geometry.fix_scale()
    assert geometry.scale.item() == 4.0


def test_facts_are_plain_arrays_for_a_fused_kernel():
    facts = Geometry.of(FORMATS["e4m3"], 0.5).facts()
    assert facts["values"].tolist() == list(FORMATS["e4m3"].grid.values)
    assert (facts["origin"], facts["scale"].item()) == (126, 0.5)


@pytest.mark.parametrize("name", ["e4m3", "e8m0"])
def test_shapes_and_types_are_those_of_the_definition(name):
    geometry = Geometry.of(FORMATS[name])
    for w in (torch.ones(2, 3).t(), torch.ones(()), torch.ones(0), torch.ones(4, dtype=torch.bfloat16)):
        u = geometry.position(w)
        results = (u, geometry.rung(w), geometry.value(u), geometry.spacing(w))
        assert [result.shape for result in results] == [w.shape] * 4
        assert [result.dtype for result in results] == [torch.float64, torch.int32, torch.float32, torch.float32]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FORMATS)
def test_movement_is_counted_by_rungs_one_element_at_a_time(name, dtype):
    format = FORMATS[name]
    before = noise(3000, format).nan_to_num(nan=1.0).to(dtype)  # more than a block of the kernel
    after = torch.where(torch.rand(before.shape) < 0.5, before, (before.float() * 1.1).to(dtype))
    after = after.nan_to_num(nan=2.0)
    gradient = torch.randint(-1, 2, before.shape).to(dtype)
    gradient[:3] = torch.tensor([math.nan, math.inf, -0.0])
    for scale in (torch.tensor(0.37), torch.rand(before.shape) + 0.5):
        geometry = Geometry.of(format, scale)
        flipped = [a != b for a, b in zip(geometry.rung(before).tolist(), geometry.rung(after).tolist(), strict=True)]
        updated = [g != 0 for g in gradient.tolist()]
        both = sum(f and u for f, u in zip(flipped, updated, strict=True))
        expected = [sum(flipped), sum(updated), both, before.numel()]
        assert geometry.movement(before, after, gradient).tolist() == expected
        assert reference.movement(before, after, gradient, format, scale).tolist() == expected
    after[4500] = math.nan  # in the second block
    assert geometry.movement(before, after, gradient).tolist() == [0, 0, 0, 0]


def test_movement_of_a_matrix_that_is_a_view_and_of_nothing():
    before, geometry = torch.arange(12.0).view(3, 4).t(), Geometry.of(FORMATS["e4m3"])
    assert geometry.movement(before, before + 1, torch.ones(4, 3)).tolist() == [12, 12, 12, 12]
    assert geometry.movement(*[torch.empty(0, 3)] * 3).tolist() == [0, 0, 0, 0]


def test_movement_refuses_what_does_not_fit():
    geometry, x = Geometry.of(FORMATS["e4m3"]), torch.ones(4, 3)
    with pytest.raises(
        FormatError, match=r"movement: before has shape \(3, 3\) and is on cpu; expected those of after, \(4, 3\)"
    ):
        geometry.movement(x[:3], x, x)
    with pytest.raises(FormatError, match=r"movement: gradient has shape \(3,\)"):
        geometry.movement(x, x, x[0])
    with pytest.raises(FormatError, match=r"movement: gradient is torch\.int64"):
        geometry.movement(x, x, x.long())

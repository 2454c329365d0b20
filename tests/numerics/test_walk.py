"""Walks against exact fractions, by the compiled path and by tensor operations."""

from __future__ import annotations

import math
from bisect import bisect_right
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from altgrad_core import (
    FormatError,
    Geometry,
    adam_walk,
    begin_moments,
    load_format,
    stochastic_walk,
    update_velocity,
    walk,
)
from altgrad_core.numerics import backends
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.line import floored
from tests.numerics.moves import EIGHT, TABLE, directions, weights_of

MORE = (*EIGHT, "bf16", "fp16", "e4m3-fnuz", "binary8p3", "e2m1")


class ExactLine:
    """u and its inverse on a sorted list of values, in exact fractions, continued with the last gaps."""

    def __init__(self, format: Format) -> None:
        self.values = [Fraction(v) for v in format.grid.values]
        self.origin = format.grid.origin

    def position(self, x: Fraction) -> Fraction:
        cell = max(0, min(len(self.values) - 2, bisect_right(self.values, x) - 1))
        low, high = self.values[cell], self.values[cell + 1]
        return cell - self.origin + (x - low) / (high - low)

    def value(self, u: Fraction) -> Fraction:
        cell = max(0, min(len(self.values) - 2, math.floor(u) + self.origin))
        low, high = self.values[cell], self.values[cell + 1]
        return low + (u - (cell - self.origin)) * (high - low)


def ulp(x: float) -> Fraction:
    """The distance of float32 numbers around x."""
    return Fraction(2) ** (max(math.frexp(x)[1] - 1, -126) - 23)


@pytest.mark.parametrize("floor", [None, 2])
@pytest.mark.parametrize("scale", [2.0**-7, 0.3, 0.480101615190506])
@pytest.mark.parametrize("name", [*EIGHT, "e4m3-fnuz", "e2m1"])
def test_a_walk_is_the_exact_one_to_the_last_bit_of_float32(
    name: str, scale: float, floor: int | None, path: str
) -> None:
    format, scale = load_format(name), float(torch.tensor(scale))
    geometry = Geometry.of(format, scale)
    geometry = geometry if floor is None else geometry.floored(floor)
    weight = weights_of(format, scale)
    r, moved = directions(weight), weight.clone()
    walk(moved, r, geometry, gradient=torch.ones_like(r))
    line = ExactLine(geometry.line)
    near_zero = Fraction(geometry.line.smallest_positive) * 2 ** (geometry.line.mantissa_bits or 0)
    for w, rungs, got in zip(weight.tolist(), r.tolist(), moved.tolist(), strict=True):
        exact = line.value(line.position(Fraction(w) / Fraction(scale)) - Fraction(rungs)) * Fraction(scale)
        resolution = near_zero * Fraction(scale) / 2**23  # a weight below N is brought to it, and so is its step
        allowed = max(ulp(float(exact)) * Fraction(51, 100), resolution * Fraction(101, 100))
        assert abs(Fraction(got) - exact) <= allowed, (w, rungs, got, float(exact))


@pytest.mark.parametrize("as_rows", [False, True])
def test_a_short_step_at_a_scale_that_is_no_power_of_two_is_exact(as_rows: bool, path: str) -> None:
    weight, step = torch.tensor([[-0.42989563941955566]]), torch.tensor([[-0.0023521308321505785]])
    scale = torch.tensor([[0.480101615190506]]) if as_rows else 0.480101615190506
    walk(weight, step, Geometry.of(load_format("e2m1"), scale), gradient=step)
    assert weight.item() == torch.tensor(-0.42933100851372824).item()  # by fractions; 2.2 ulp from a float32 position


@pytest.mark.parametrize("format", [*map(load_format, MORE), TABLE], ids=lambda format: format.name)
@pytest.mark.parametrize("scale", [2.0**-7, 0.3])
def test_the_counts_and_the_trail_are_those_of_the_rungs(format: Format, scale: float, path: str) -> None:
    geometry, weight = Geometry.of(format, scale), weights_of(format, scale)
    gradient, r = torch.ones_like(weight), directions(weight)
    gradient[::3], gradient[1], gradient[2] = 0.0, math.nan, math.inf
    moved, trail = weight.clone(), torch.full(weight.shape, 7, dtype=torch.int32)
    counts = walk(moved, r, geometry, gradient=gradient, rungs=1.5, bound=4.0, decay=0.01, trail=trail)
    assert torch.equal(trail - 7, geometry.rung(moved) - geometry.rung(weight))
    assert torch.equal(moved[1:3], weight[1:3])
    expected = (2, int((gradient != 0).sum()) - 2, int((trail != 7).sum()))
    assert tuple(int(count) for count in counts[:3] if count is not None) == expected
    walked = (geometry.position(0.99 * weight) - geometry.position(moved))[3:]
    torch.testing.assert_close(walked, (1.5 * r).clamp(-4, 4).double()[3:], rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("name", [name for name in MORE if name != "bf16"])  # which has no room beside it in float32
def test_walks_mirror_and_scale(name: str) -> None:
    format = load_format(name)
    weight = weights_of(format, 1.0)
    r = directions(weight)

    def walked(sign: int, power: float) -> Tensor:
        moved = sign * weight * power
        walk(moved, sign * r, Geometry.of(format, power), gradient=r, decay=1e-3)
        return sign * moved / power

    assert torch.equal(walked(1, 1.0), walked(-1, 1.0))
    assert torch.equal(walked(1, 1.0), walked(1, 2.0**9))


@pytest.mark.parametrize("per_row", [False, True])
def test_results_depend_neither_on_threads_nor_on_the_other_elements(per_row: bool) -> None:
    format, count = load_format("e4m3"), 1 << 20
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1 << 10, 1 << 10, generator=generator)
    scale = torch.full((1 << 10, 1), 2.0**-5) if per_row else torch.tensor(2.0**-5)
    r = torch.randn(weight.shape, generator=generator)
    found = []
    threads = torch.get_num_threads()
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        walked, jumped = weight.clone(), weight.clone()
        counts = walk(walked, r, Geometry.of(format, scale), gradient=r)
        jumps = stochastic_walk(jumped, r, Geometry.of(format, scale), gradient=r, key=5)
        found.append((walked, jumped, counts, jumps))
    torch.set_num_threads(threads)
    assert found[0][2].updates == count
    for walked, jumped, counts, jumps in found[1:]:
        assert torch.equal(walked, found[0][0]) and torch.equal(jumped, found[0][1])
        assert (counts, jumps) == found[0][2:]
    part = weight[300:301, 5:900].clone()
    walk(part, r[300:301, 5:900], Geometry.of(format, 2.0**-5), gradient=part)
    assert torch.equal(part, found[0][0][300:301, 5:900])


@pytest.mark.parametrize("name", [*EIGHT, "bf16"])
def test_what_is_no_number_stays_as_it_is(name: str, path: str) -> None:
    geometry = Geometry.of(load_format(name), 0.25)
    weight = torch.tensor([math.nan, math.inf, -math.inf, 0.1, 0.2])
    r = torch.tensor([1.0, 1.0, 1.0, math.nan, math.inf])
    moved = weight.clone()
    walk(moved, r, geometry, gradient=torch.ones(5), decay=0.5)
    assert torch.equal(moved.view(torch.int32), weight.view(torch.int32))


@pytest.mark.parametrize("decay", [0.0, 1e-4])
@pytest.mark.parametrize("name", [*EIGHT, "fp16"])
def test_a_weight_at_rest_beside_a_tie_is_counted_as_it_is(name: str, decay: float, path: str) -> None:
    geometry = Geometry.of(load_format(name), 2.0**-7)
    rungs = torch.tensor(geometry.format.grid.values)
    rungs = rungs[:: 1 + len(rungs) // 1000] if path == "triton" else rungs  # the interpreter is slow
    ties = ((rungs[1:] + rungs[:-1]) / 2 * 2.0**-7).float()
    beside = torch.cat([ties * (1 + k * 2.0**-23) for k in (-2, -1, 0, 1, 2)])
    weight = torch.cat([beside, beside / (1 - decay)])
    moved, trail = weight.clone(), torch.zeros(weight.shape, dtype=torch.int32)
    counts = walk(moved, torch.zeros_like(weight), geometry, gradient=weight, decay=decay, trail=trail)
    assert torch.equal(trail, geometry.rung(moved) - geometry.rung(weight))
    assert int(counts.flips or 0) == int((trail != 0).sum())
    torch.testing.assert_close(moved, weight * (1 - decay), rtol=0 if not decay else 2e-7, atol=0)


@pytest.mark.parametrize("name", ["e0m7", "e5m2", "e7m0"])
@pytest.mark.parametrize("scale", [2.0**-115, 2.0**-7, 0.3, 16.0])
@pytest.mark.parametrize("floor", [None, 2])
def test_a_trail_changes_no_weight(name: str, scale: float, floor: int | None) -> None:
    geometry = Geometry.of(load_format(name), scale)
    geometry = geometry if floor is None else geometry.floored(floor)
    weight = torch.cat([weights_of(geometry.format, scale), torch.tensor([1e-40, -3e-42, 1e5])])
    r, found = directions(weight), []
    r[-1] = 0.0
    for trail in (None, torch.zeros(weight.shape, dtype=torch.int32)):
        found.append(weight.clone())
        walk(found[-1], r, geometry, gradient=r, decay=1e-4, trail=trail)
    assert torch.equal(found[0], found[1]) and found[0].isfinite().all()


def test_a_walk_may_be_longer_than_the_grid(path: str) -> None:
    moved = torch.tensor([2.0**64, -1.0])
    walk(moved, torch.tensor([-3.0, 600.0]), Geometry.of(load_format("e7m0")), gradient=moved.clone())
    assert moved.tolist() == [2.0**64 + 3 * 2.0**63, -(2.0**64) - (600 - 64) * 2.0**63]


@pytest.mark.parametrize("name", EIGHT)
def test_adam_walks_by_adams_direction(name: str, path: str) -> None:
    format = load_format(name)
    geometry, weight = Geometry.of(format, 1.0), weights_of(format, 0.5, 100)
    generator = torch.Generator().manual_seed(2)
    state: dict[str, Tensor] = {}
    begin_moments(state, weight)
    state["bit_position"] = torch.zeros_like(weight, dtype=torch.int32)
    m = v = torch.zeros_like(weight, dtype=torch.float64)
    start = weight.clone()
    for step in range(1, 6):
        gradient = torch.randn(weight.shape, generator=generator) * 1e-3
        gradient[3] = math.nan
        m = torch.where(gradient.isnan(), m, 0.9 * m + 0.1 * gradient.double())
        v = torch.where(gradient.isnan(), v, 0.99 * v + 0.01 * gradient.double() ** 2)
        direction = m / (1 - 0.9**step) / ((v / (1 - 0.99**step)).sqrt() + 1e-8)
        before = geometry.position(weight)
        counts = adam_walk(weight, gradient, state, geometry, rungs=0.5, betas=(0.9, 0.99), eps=1e-8)
        walked = before - geometry.position(weight)
        torch.testing.assert_close(walked, 0.5 * direction, rtol=1e-4, atol=2e-4)
        assert int(counts.broken) == 1 and weight[3] == start[3]
    assert torch.equal(state["bit_position"], geometry.rung(weight) - geometry.rung(start))
    torch.testing.assert_close(state["exp_avg"].double(), m, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(state["exp_avg_sq"].double(), v, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", EIGHT)
@pytest.mark.parametrize("binades", [1, 3, 40])
def test_a_floor_bounds_the_spacing_and_changes_nothing_above(name: str, binades: int) -> None:
    format = load_format(name)
    geometry = Geometry.of(format)
    flat = geometry.floored(binades)
    weight = weights_of(format, 1.0)
    end = 2.0 ** (math.frexp(format.largest)[1] - binades)
    smallest = end / 2 ** (format.mantissa_bits + 1)
    torch.testing.assert_close(flat.spacing(weight), geometry.spacing(weight).clamp(min=smallest), rtol=0, atol=0)
    apart = flat.position(weight) - geometry.position(weight)
    above = weight >= end
    assert apart[above].unique().numel() <= 1  # only the number of rungs below is another
    torch.testing.assert_close(flat.value(flat.position(weight)), weight, rtol=1e-6, atol=0)
    assert torch.equal(flat.rung(weight), geometry.rung(weight))  # the format is what it was
    assert floored(format, binades) is floored(format, binades)


@pytest.mark.parametrize("name", [*EIGHT, "fp16", "e4m3-fnuz", "binary8p3"])
@pytest.mark.parametrize("scale", [2.0**-7, 0.3])
def test_the_compiled_spacing_is_that_of_the_table(name: str, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    format = load_format(name)
    geometry, weight = Geometry.of(format, scale), weights_of(format, scale)
    found = geometry.spacing(weight)
    monkeypatch.setattr(backends, "ORDER", ("reference",))
    assert torch.equal(found, geometry.spacing(weight))


def test_a_table_has_no_floor() -> None:
    with pytest.raises(FormatError) as caught:
        Geometry.of(TABLE).floored(3).position(torch.ones(1))
    assert str(caught.value) == 'a floor of 3 binades needs a format with binades of both signs, not "gaps"'


def test_on_other_devices_no_step_waits_for_a_number() -> None:
    """Whatever asks a tensor for its value fails on the meta device."""
    geometry = Geometry.of(load_format("e4m3"), torch.ones((), device="meta"))
    weight, state = torch.zeros(4, 4, device="meta"), {}
    begin_moments(state, weight)
    state["bit_position"] = torch.zeros_like(weight, dtype=torch.int32)
    adam_walk(weight, weight, state, geometry, rungs=0.5, betas=(0.9, 0.99), eps=1e-8, decay=0.1)
    walk(weight, weight, geometry, gradient=weight, rungs=torch.ones((), device="meta"), trail=state["bit_position"])
    stochastic_walk(weight, weight, geometry, gradient=weight, key=3, decay=0.1)
    update_velocity(weight, weight, 0.9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", EIGHT)
def test_cuda_moves_as_the_cpu_does(name: str) -> None:
    format = load_format(name)
    weight = weights_of(format, 2.0**-7)
    r, found = directions(weight), []
    for device in ("cpu", "cuda"):
        geometry = Geometry.of(format, torch.tensor(2.0**-7, device=device))
        walked, jumped, turns = (weight.to(device, copy=True) for _ in range(3))
        walk(walked, turns.copy_(r), geometry, gradient=turns, decay=0.01)
        stochastic_walk(jumped, turns, geometry, gradient=turns, key=5)
        found.append((geometry.position(walked).cpu(), jumped.cpu()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=1e-4)
    assert torch.equal(found[0][1], found[1][1])

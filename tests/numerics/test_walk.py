"""Walks and hops against exact fractions, by the compiled path and by tensor operations."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial

import pytest
import torch
from torch import Tensor

from altgrad_core import FormatError, Geometry, adam_walk, begin_moments, hop, load_format, update_velocity, walk
from altgrad_core.numerics import kernels
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.line import floored
from altgrad_core.numerics.random import philox_words
from altgrad_core.testing.strategies import TableFormat

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
MORE = (*EIGHT, "bf16", "fp16", "e4m3-fnuz", "binary8p3", "e2m1")
TABLE = TableFormat((-1.0, 0.0, 0.5, 2.0, 3.0, -7.0, 3.5, math.nan), name="gaps")


@pytest.fixture(params=["compiled", "tensor operations"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice, the second time without compiled moves."""
    if request.param != "compiled":
        monkeypatch.setattr(kernels, "moves", lambda w: False)
    return request.param


class ExactLine:
    """u and its inverse on a sorted list of values, in exact fractions, continued with the last gaps."""

    def __init__(self, format: Format) -> None:
        self.values = [Fraction(v) for v in format.grid.values]
        self.origin = format.grid.origin

    def position(self, x: Fraction) -> Fraction:
        cell = max(0, min(len(self.values) - 2, sum(v <= x for v in self.values) - 1))
        low, high = self.values[cell], self.values[cell + 1]
        return cell - self.origin + (x - low) / (high - low)

    def value(self, u: Fraction) -> Fraction:
        cell = max(0, min(len(self.values) - 2, math.floor(u) + self.origin))
        low, high = self.values[cell], self.values[cell + 1]
        return low + (u - (cell - self.origin)) * (high - low)


def weights_of(format: Format, scale: float, count: int = 300) -> Tensor:
    """Of all magnitudes: near the top and beyond it, near zero, on rungs, and zero itself."""
    generator = torch.Generator().manual_seed(0)
    top = format.largest if format.largest < 1e38 else format.largest * 2.0**-6  # no weight beyond float32
    spread = torch.randn(count, generator=generator) * top * 0.4
    low = math.log2(format.smallest_positive) - 3
    logs = low + (math.log2(top) + 0.6 - low) * torch.rand(count, generator=generator)
    small = 2.0**logs * torch.randn(count, generator=generator).sign()
    rungs = torch.tensor(format.grid.values[:: 1 + len(format.grid) // 200])
    return torch.cat([spread, small, rungs, torch.zeros(1)]).mul(scale).float()


def directions(like: Tensor) -> Tensor:
    """From much less than a rung to several."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.tensor([1e-4, 0.03, 0.7, 6.0])[torch.randint(4, like.shape, generator=generator)]
    return torch.randn(like.shape, generator=generator) * sizes


def ulp(x: float) -> Fraction:
    """The distance of float32 numbers around x."""
    return Fraction(2) ** (max(math.frexp(x)[1] - 1, -126) - 23)


@pytest.mark.parametrize("floor", [None, 2])
@pytest.mark.parametrize("name", [*EIGHT, "e4m3-fnuz"])
def test_a_walk_is_the_exact_one_to_the_last_bit_of_float32(name: str, floor: int | None, path: str) -> None:
    format, scale = load_format(name), 2.0**-7
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
        walked, hopped = weight.clone(), weight.clone()
        counts = walk(walked, r, Geometry.of(format, scale), gradient=r)
        hops = hop(hopped, r, Geometry.of(format, scale), gradient=r, key=5)
        found.append((walked, hopped, counts, hops))
    torch.set_num_threads(threads)
    assert found[0][2].updates == count
    for walked, hopped, counts, hops in found[1:]:
        assert torch.equal(walked, found[0][0]) and torch.equal(hopped, found[0][1])
        assert (counts, hops) == found[0][2:]
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


def test_a_velocity_that_lies_across_is_updated_in_place(path: str) -> None:
    geometry = Geometry.of(load_format("e4m3"))
    for move in (walk, partial(hop, key=7)):
        velocity = torch.ones(4, 6).t()
        move(torch.ones(6, 4), velocity, geometry, gradient=torch.ones(6, 4), momentum=0.5)
        assert (velocity == 1.5).all()


def test_a_hop_however_far_ends_at_the_end(path: str) -> None:
    moved = torch.ones(4)
    far = torch.tensor([1e10, -1e10, math.inf, -math.inf])
    counts = hop(moved, far, Geometry.of(load_format("e4m3")), gradient=torch.ones(4), key=3)
    assert moved.tolist() == [-448.0, 448.0, -448.0, 448.0] and int(counts.ended) == 4


def test_hops_of_weights_between_rungs_go_by_the_decay_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = Geometry.of(load_format("e4m3"))
    weight = torch.randn(5000, generator=torch.Generator().manual_seed(5)) * 50
    found = [weight.clone(), weight.clone()]
    for moved in found:
        hop(moved, torch.zeros_like(weight), geometry, gradient=weight, key=3, decay=1e-3)
        monkeypatch.setattr(kernels, "moves", lambda w: False)
    assert (found[0] != found[1]).sum() <= 5  # the chance is a sum of float32 in one, of float64 in the other


def test_a_walk_may_be_longer_than_the_grid(path: str) -> None:
    moved = torch.tensor([2.0**64, -1.0])
    walk(moved, torch.tensor([-3.0, 600.0]), Geometry.of(load_format("e7m0")), gradient=moved.clone())
    assert moved.tolist() == [2.0**64 + 3 * 2.0**63, -(2.0**64) - (600 - 64) * 2.0**63]


@pytest.mark.parametrize("format", [*map(load_format, (*EIGHT, "e4m3-fnuz")), TABLE], ids=lambda format: format.name)
def test_hops_end_on_the_rung_that_their_random_bits_say(format: Format, path: str) -> None:
    geometry = Geometry.of(format, 0.5)
    rung = torch.randint(
        geometry.lowest_rung, geometry.highest_rung + 1, (3000,), generator=torch.Generator().manual_seed(0)
    )
    weight = geometry.value(rung)
    r = directions(weight)
    gradient = torch.ones_like(r)
    gradient[7] = math.nan
    moved, trail = weight.clone(), torch.zeros(3000, dtype=torch.int32)
    counts = hop(moved, r, geometry, gradient=gradient, key=11, rungs=1.0, bound=5.0, trail=trail)
    bounded = r.clamp(-5, 5).double()
    low = bounded.floor()
    up = ((bounded - low) * 2**24).floor() + (philox_words(11, 3000) >> 8) >= 2**24
    aim = rung - (low.long() + up)
    aim[7] = rung[7]
    target = aim.clamp(geometry.lowest_rung, geometry.highest_rung)
    assert torch.equal(moved, geometry.value(target))
    assert torch.equal(trail, (target - rung).int())
    found = tuple(int(count) for count in counts if count is not None)
    assert found == (1, 2999, int((target != rung).sum()), int((target != aim).sum()))


@pytest.mark.parametrize("move", [-2.75, -0.3, 0.01, 1.5])
def test_hops_are_unbiased(move: float) -> None:
    geometry, count = Geometry.of(load_format("e4m3"), 1.0), 200_000
    moved = torch.full((count,), 4.0)
    start = geometry.rung(moved[:1]).item()
    hop(moved, torch.full((count,), move), geometry, gradient=torch.ones(count), key=3)
    mean = (start - geometry.rung(moved)).double().mean().item()
    fraction = move - math.floor(move)
    assert abs(mean - move) < 4 * math.sqrt(fraction * (1 - fraction) / count) + 1e-6


def test_decay_of_a_weight_on_the_grid_is_taken_by_chance(path: str) -> None:
    geometry, count = Geometry.of(load_format("e4m3"), 1.0), 100_000
    moved = torch.full((count,), 3.0)  # 0.06 below lies a quarter of a rung below
    hop(moved, torch.zeros(count), geometry, gradient=torch.ones(count), key=3, decay=0.02)
    share = (moved == 2.75).double().mean().item()
    assert ((moved == 2.75) | (moved == 3.0)).all()
    assert abs(share - 0.24) < 4 * math.sqrt(0.24 * 0.76 / count)


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


def test_a_velocity_leaves_out_what_is_no_number(path: str) -> None:
    velocity = torch.tensor([1.0, 2.0, 3.0])
    update_velocity(velocity, torch.tensor([4.0, math.nan, -math.inf]), 0.5)
    assert velocity.tolist() == [4.5, 2.0, 3.0]


@pytest.mark.parametrize("count", [1, 16, 1023, 5000, 1 << 20])
def test_the_norm_of_a_velocity_is_that_of_float64_on_any_threads(count: int, path: str) -> None:
    velocity = torch.randn(count, generator=torch.Generator().manual_seed(0)) * 1e-3
    expected, threads, found = (0.5 * velocity + 1).double().norm().item(), torch.get_num_threads(), []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        found.append(float(update_velocity(velocity.clone(), torch.ones(count), 0.5)))
    torch.set_num_threads(threads)
    assert found[0] == pytest.approx(expected, rel=1e-12) and len({round(x, 9) for x in found}) == 1
    assert path != "compiled" or found[0] == found[1] == found[2]


@pytest.mark.parametrize("scale", [2.0**-7, 0.3])
@pytest.mark.parametrize("name", ["e0m7", "e4m3", "e7m0"])
def test_momentum_comes_before_the_move(name: str, scale: float, path: str) -> None:
    geometry = Geometry.of(load_format(name), scale)
    weight = weights_of(geometry.format, scale)
    velocity = directions(weight)
    gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    gradient[5] = math.nan
    options = {"gradient": gradient, "rungs": 1.5, "bound": 3.0, "decay": 0.01}
    for move in (walk, partial(hop, key=7)):
        together, before, apart = (velocity.clone(), weight.clone()), velocity.clone(), weight.clone()
        counts = move(together[1], together[0], geometry, momentum=0.9, **options)
        update_velocity(before, gradient, 0.9)
        assert move(apart, before, geometry, **options) == counts
        assert torch.equal(together[0], before) and torch.equal(together[1], apart)


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
    monkeypatch.setattr(kernels, "walks", lambda w, format: False)
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
    hop(weight, weight, geometry, gradient=weight, key=3, decay=0.1)
    update_velocity(weight, weight, 0.9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", EIGHT)
def test_cuda_moves_as_the_cpu_does(name: str) -> None:
    format = load_format(name)
    weight = weights_of(format, 2.0**-7)
    r, found = directions(weight), []
    for device in ("cpu", "cuda"):
        geometry = Geometry.of(format, torch.tensor(2.0**-7, device=device))
        walked, hopped, turns = (weight.to(device, copy=True) for _ in range(3))
        walk(walked, turns.copy_(r), geometry, gradient=turns, decay=0.01)
        hop(hopped, turns, geometry, gradient=turns, key=5)
        found.append((geometry.position(walked).cpu(), hopped.cpu()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=1e-4)
    assert torch.equal(found[0][1], found[1][1])

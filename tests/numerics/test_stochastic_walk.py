"""Hops by whole rungs, and velocities, by the compiled path and by tensor operations."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from altgrad_core import Geometry, load_format, stochastic_walk, update_velocity, walk
from altgrad_core.numerics import backends
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.random import philox_words
from tests.numerics.moves import EIGHT, TABLE, directions, weights_of


def test_a_velocity_that_lies_across_is_updated_in_place(path: str) -> None:
    geometry = Geometry.of(load_format("e4m3"))
    for move in (walk, partial(stochastic_walk, key=7)):
        velocity = torch.ones(4, 6).t()
        move(torch.ones(6, 4), velocity, geometry, gradient=torch.ones(6, 4), momentum=0.5)
        assert (velocity == 1.5).all()


def test_a_hop_however_far_ends_at_the_end(path: str) -> None:
    moved = torch.ones(4)
    far = torch.tensor([1e10, -1e10, math.inf, -math.inf])
    counts = stochastic_walk(moved, far, Geometry.of(load_format("e4m3")), gradient=torch.ones(4), key=3)
    assert moved.tolist() == [-448.0, 448.0, -448.0, 448.0] and int(counts.ended) == 4


def test_hops_of_weights_between_rungs_go_by_the_decay_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = Geometry.of(load_format("e4m3"))
    weight = torch.randn(5000, generator=torch.Generator().manual_seed(5)) * 50
    found = [weight.clone(), weight.clone()]
    for moved in found:
        stochastic_walk(moved, torch.zeros_like(weight), geometry, gradient=weight, key=3, decay=1e-3)
        monkeypatch.setattr(backends, "ORDER", ("reference",))
    assert (found[0] != found[1]).sum() <= 5  # the chance is a sum of float32 in one, of float64 in the other


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
    counts = stochastic_walk(moved, r, geometry, gradient=gradient, key=11, rungs=1.0, bound=5.0, trail=trail)
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
    stochastic_walk(moved, torch.full((count,), move), geometry, gradient=torch.ones(count), key=3)
    mean = (start - geometry.rung(moved)).double().mean().item()
    fraction = move - math.floor(move)
    assert abs(mean - move) < 4 * math.sqrt(fraction * (1 - fraction) / count) + 1e-6


def test_decay_of_a_weight_on_the_grid_is_taken_by_chance(path: str) -> None:
    geometry, count = Geometry.of(load_format("e4m3"), 1.0), 10_000 if path == "triton" else 100_000
    moved = torch.full((count,), 3.0)  # 0.06 below lies a quarter of a rung below
    stochastic_walk(moved, torch.zeros(count), geometry, gradient=torch.ones(count), key=3, decay=0.02)
    share = (moved == 2.75).double().mean().item()
    assert ((moved == 2.75) | (moved == 3.0)).all()
    assert abs(share - 0.24) < 4 * math.sqrt(0.24 * 0.76 / count)


def test_a_velocity_leaves_out_what_is_no_number(path: str) -> None:
    velocity = torch.tensor([1.0, 2.0, 3.0])
    update_velocity(velocity, torch.tensor([4.0, math.nan, -math.inf]), 0.5)
    assert velocity.tolist() == [4.5, 2.0, 3.0]


@pytest.mark.parametrize("count", [1, 16, 1023, 5000, 1 << 20])
def test_the_norm_of_a_velocity_is_that_of_float64_on_any_threads(count: int, path: str) -> None:
    count = min(count, 5000) if path == "triton" else count  # the interpreter is slow
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
    for move in (walk, partial(stochastic_walk, key=7)):
        together, before, apart = (velocity.clone(), weight.clone()), velocity.clone(), weight.clone()
        counts = move(together[1], together[0], geometry, momentum=0.9, **options)
        update_velocity(before, gradient, 0.9)
        assert move(apart, before, geometry, **options) == counts
        assert torch.equal(together[0], before) and torch.equal(together[1], apart)

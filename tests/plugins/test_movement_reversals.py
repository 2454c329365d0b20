"""Reversals, recomputed one element at a time from the whole history of its flips."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from altgrad_movement import Reversals
from altgrad_movement.counts import MOST_REVERSALS, count_reversals, shares_reversed
from torch import Tensor

from altgrad_core import Geometry, Updated, Weight, load_format
from altgrad_core.testing.tiny import tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def reversals_in(directions: list[int]) -> int:
    """How often an element turned, given the sign of each of its moves in rungs."""
    flips = [direction for direction in directions if direction]
    return sum(now == -last for last, now in pairwise(flips))


def repeats_in(directions: list[int]) -> int:
    """How often an element flipped again."""
    return max(0, sum(map(abs, directions)) - 1)


def after_moves(*rungs: int) -> tuple[list[list[int]], Tensor]:
    """The counts of each step, and the history, of one element that goes through these rungs."""
    history, counts = None, []
    for before, after in pairwise(rungs):
        count, history = count_reversals(
            torch.tensor([before]), torch.tensor([after]), history=history, weight=torch.zeros(1)
        )
        counts.append(count.tolist())
    assert history is not None
    return counts, history


@pytest.mark.parametrize("format", EIGHT)
def test_counts_and_rates_are_those_of_the_definition(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any], view_of: Callable[..., SimpleNamespace]
) -> None:
    scale, generator = 2.0**-3, torch.Generator().manual_seed(0)
    geometry, grid = Geometry.of(load_format(format), scale), obvious(load_format(format), scale)
    centre = weights_of(load_format(format))[::3] * scale
    monitor, weight = Reversals(every=4, at_least=2), centre
    moves: list[list[int]] = [[] for _ in range(len(centre))]
    earlier: tuple[int, int] = (0, 0)
    for step in range(1, 9):
        after = centre * (1 + 0.2 * torch.randn(centre.shape, generator=generator))
        seen = Weight("layer", after, geometry=geometry, rungs_before=geometry.rung(weight))
        readings = monitor.observe(Updated(step, view_of(seen), 1.0, 0.1))
        for history, x, y in zip(moves, weight.tolist(), after.tolist(), strict=True):
            rungs = (grid.rung(x), grid.rung(y))
            history.append((rungs[1] > rungs[0]) - (rungs[1] < rungs[0]))
        weight = after
        if step % 4:
            assert readings == {}
            continue
        reversals, repeats = sum(map(reversals_in, moves)), sum(map(repeats_in, moves))
        assert reversals > earlier[0]
        assert readings == {
            "reversals": {"layer": reversals},
            "reversal-rate": {"layer": (reversals - earlier[0]) / (4 * len(centre))},
            "reversal-share": {"layer": (reversals - earlier[0]) / (repeats - earlier[1])},
            "oscillating": {"layer": sum(reversals_in(history) >= 2 for history in moves) / len(centre)},
        }
        earlier = (reversals, repeats)


def test_reversals_by_hand() -> None:
    counts, history = after_moves(0, 1, 1, 3, 2, 2, 5)
    assert counts == [[0, 0, 1], [0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1]]
    assert history.tolist() == [3]  # upwards, after two reversals


def test_more_reversals_than_an_int8_holds_are_counted_but_not_remembered() -> None:
    counts, history = after_moves(*[0, 1] * 200)
    assert sum(count[0] for count in counts) == 398
    assert history.tolist() == [MOST_REVERSALS + 1]
    assert after_moves(*[1, 0] * 200)[1].tolist() == [-MOST_REVERSALS - 1]
    assert shares_reversed({"layer": history}, times=MOST_REVERSALS) == {"layer": 1.0}


def test_without_a_second_flip_there_is_no_share(view_of: Callable[..., SimpleNamespace]) -> None:
    geometry, zeros = Geometry.of(load_format("e4m3")), torch.zeros(4)
    seen = Weight("layer", zeros + 1, geometry=geometry, rungs_before=geometry.rung(zeros))
    assert Reversals().observe(Updated(1, view_of(seen), 1.0, 0.1)) == {
        "reversals": {"layer": 0},
        "reversal-rate": {"layer": 0.0},
        "reversal-share": {},
        "oscillating": {"layer": 0.0},
    }


def test_a_weight_with_a_nan_is_left_out_and_keeps_its_history(view_of: Callable[..., SimpleNamespace]) -> None:
    geometry, monitor = Geometry.of(load_format("e4m3")), Reversals()

    def see(step: int, before: float, after: float) -> Any:
        rungs = geometry.rung(torch.tensor([before]))
        seen = Weight("layer", torch.tensor([after]), geometry=geometry, rungs_before=rungs)
        return monitor.observe(Updated(step, view_of(seen), 1.0, 0.1))

    see(1, 0.0, 1.0)
    assert not any(see(2, 1.0, float("nan")).values())
    assert see(3, 1.0, 0.5)["reversals"] == {"layer": 1}


@pytest.mark.parametrize("format", EIGHT)
def test_a_resumed_run_counts_the_same(format: str) -> None:
    def run() -> Any:
        return tiny_run(format=load_format(format), monitors=[Reversals(every=4, at_least=1)])

    whole, first, second = run(), run(), run()
    expected = train(whole).of("reading")
    tape = train(first, until=6)
    second.restore(first.files())
    assert train(second, tape).of("reading") == expected
    histories = [each.monitors[0].state_dict()["_histories"] for each in (whole, second)]
    assert all(torch.equal(histories[0][path], histories[1][path]) for path in ("hidden", "wide"))
    assert {history.dtype for history in histories[1].values()} == {torch.int8}

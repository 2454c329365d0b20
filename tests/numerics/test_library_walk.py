"""Moves of weights as operations of torch: the bits of eager moves, torch's own checks, one graph under torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import altgrad_core as ag
from altgrad_core.numerics import library_walk
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.library import name_of
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.walk import adam_walk, stochastic_walk, update_velocity, walk
from tests.numerics.test_library import noise

assert library_walk
altgrad = torch.ops.altgrad
GEOMETRIES = {
    "e4m3": Geometry.of(ag.load_format("e4m3"), 0.25),
    "a scale that is not a power of two": Geometry.of(ag.load_format("e2m1"), 0.3),
    "a floor, a scale for each row": Geometry.of(ag.load_format("e4m3"), torch.tensor([[0.5], [1.0]])).floored(3),
}


def tensors() -> dict[str, Any]:
    """A weight and all that may move it."""
    rows = {name: noise(2, 9) * size for name, size in (("weight", 0.5), ("direction", 2.0), ("gradient", 0.1))}
    rows["gradient"][0, 3] = torch.inf
    state = {"step": torch.zeros(()), "exp_avg": 0.1 * noise(2, 9), "exp_avg_sq": noise(2, 9).square()}
    return {**rows, "trail": torch.zeros(2, 9, dtype=torch.int32), "state": state, "velocity": noise(2, 9)}


Move = Callable[[dict[str, Any], Geometry], Any]
STEP: dict[str, Any] = {"rungs": 1.5, "bound": 2.0, "decay": 0.01}
MOVES: dict[str, Move] = {
    "walk": lambda t, at: walk(t["weight"], t["direction"], at, gradient=t["gradient"], **STEP),
    "walk, momentum, trail": lambda t, at: walk(
        t["weight"], t["direction"], at, gradient=t["gradient"], momentum=0.9, trail=t["trail"], **STEP
    ),
    "stochastic walk": lambda t, at: stochastic_walk(
        t["weight"], t["direction"], at, gradient=t["gradient"], key=2**61 + 3, trail=t["trail"], **STEP
    ),
    "Adam": lambda t, at: adam_walk(
        t["weight"],
        t["gradient"],
        {**t["state"], "bit_position": t["trail"]},
        at,
        rungs=0.5,
        betas=(0.9, 0.99),
        eps=1e-8,
    ),
    "velocity": lambda t, at: update_velocity(t["velocity"], t["gradient"], 0.9),
}


def flat(tree: Any) -> list[Tensor]:
    """Every tensor and number of a tree."""
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [torch.as_tensor(leaf, dtype=torch.float64) for leaf in leaves if leaf is not None]


@pytest.mark.parametrize("at", GEOMETRIES.values(), ids=list(GEOMETRIES))
@pytest.mark.parametrize("move", MOVES.values(), ids=list(MOVES))
def test_a_compiled_move_is_one_graph_with_the_bits_of_an_eager_one(move: Move, at: Geometry) -> None:
    torch._dynamo.reset()
    one, two = tensors(), tensors()
    counts = torch.compile(move, backend="aot_eager", fullgraph=True)(one, at), move(two, at)
    for mine, its in zip(flat((one, counts[0])), flat((two, counts[1])), strict=True):
        assert torch.equal(mine, its)
    assert not torch.equal(one["weight"], tensors()["weight"]) or not torch.equal(
        one["velocity"], tensors()["velocity"]
    )


def calls() -> dict[str, tuple[Any, ...]]:
    """Each operation with its inputs."""
    t, state = tensors(), tensors()["state"]
    grid = name_of(Quantizer(ag.load_format("e4m3"))), torch.tensor(0.3), 3
    rungs, decay = (torch.tensor(number, dtype=torch.float64) for number in (1.5, 0.01))
    moving = t["weight"], t["direction"], t["gradient"], t["trail"], *grid, rungs
    adam = t["weight"], t["gradient"], state["step"], state["exp_avg"], state["exp_avg_sq"], None, *grid
    return {
        "walk": (*moving, 2.0, decay, 0.9),
        "stochastic_walk": (*moving, 2.0, decay, None, 2**61 + 3),
        "adam_walk": (*adam, rungs, 0.9, 0.99, 1e-8, decay),
        "update_velocity": (t["velocity"], t["gradient"], 0.9),
    }


@pytest.mark.parametrize("name", calls())
def test_torchs_own_checks_pass(name: str) -> None:
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(getattr(altgrad, name).default, calls()[name], test_utils=tests)

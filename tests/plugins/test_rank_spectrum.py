"""Effective rank, rank99 and spectral norm, from singular values of a full SVD and plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from altgrad_rank import SingularValues
from altgrad_rank.spectrum import effective_rank, rank99, singular_values
from torch import Tensor

from altgrad_core import Updated, Weight, load_format
from altgrad_core.testing.tiny import LAYERS, tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sigma_of(weight: Tensor) -> list[float]:
    return [float(s) for s in torch.linalg.svdvals(weight.detach().double().flatten(1))]


def obvious_effective_rank(sigma: list[float]) -> float:
    shares = [s / math.fsum(sigma) for s in sigma]
    return math.exp(-math.fsum(p * math.log(p) for p in shares if p > 0))


def obvious_rank99(sigma: list[float]) -> int:
    squares = [s * s for s in sigma]
    return next(k for k in range(1, len(sigma) + 1) if math.fsum(squares[:k]) >= 0.99 * math.fsum(squares))


@pytest.mark.parametrize("shape", [(8, 8), (64, 16), (16, 64), (256, 128), (1, 9), (9, 1), (4, 3, 2)])
@pytest.mark.parametrize("power", [-120, 0, 120])
def test_they_are_those_of_a_full_decomposition(shape: tuple[int, ...], power: int) -> None:
    weight = normal(*shape) * 2.0**power
    sigma, expected = singular_values(weight), sigma_of(weight)
    assert sigma is not None
    assert sigma.tolist() == pytest.approx(expected, rel=1e-7, abs=1e-7 * expected[0])
    assert effective_rank(sigma) == pytest.approx(obvious_effective_rank(expected), rel=1e-7)
    assert rank99(sigma) == obvious_rank99(expected)


def test_low_rank_is_seen_through_rounding() -> None:
    weight = normal(512, 3) @ normal(3, 600, seed=1)
    sigma, expected = singular_values(weight), sigma_of(weight)
    assert sigma is not None
    assert effective_rank(sigma) == pytest.approx(obvious_effective_rank(expected), rel=1e-3)
    assert rank99(sigma) == obvious_rank99(expected) <= 3


def values_of(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_effective_ranks_by_hand() -> None:
    assert effective_rank(torch.ones(7).double()) == pytest.approx(7)
    assert effective_rank(values_of(3, 0, 0)) == 1
    assert effective_rank(values_of(2, 1, 1)) == pytest.approx(2 ** (1 / 2) * 4 ** (2 / 4))
    assert effective_rank(torch.zeros(3).double()) == 0


def test_rank99_by_hand() -> None:
    assert rank99(torch.ones(100).double()) == 99
    assert rank99(values_of(3, 0, 0)) == 1
    assert rank99(values_of(10, 1)) == 1  # 100 of 101
    assert rank99(values_of(9, 1)) == 2  # 81 of 82
    assert rank99(torch.zeros(3).double()) == 0
    assert rank99(values_of(1e-300, 1e-300)) == 2


def test_the_monitor_reports_zero_for_zero_and_leaves_out_what_is_not_finite(view_of: Callable[..., Any]) -> None:
    weights = {"eye": torch.eye(3), "zero": torch.zeros(2, 2), "bad": torch.tensor([[1.0, float("nan")]])}
    event = Updated(1, view_of(*(Weight(path, weight) for path, weight in weights.items())), 1.0, 0.1)
    assert SingularValues(every=1).observe(event) == {
        "effective-rank": {"eye": pytest.approx(3.0), "zero": 0.0},
        "rank99": {"eye": 3, "zero": 0},
        "spectral-norm": {"eye": pytest.approx(1.0), "zero": 0.0},
    }


@pytest.mark.parametrize("format", EIGHT)
def test_the_monitor_reports_of_a_run(format: str) -> None:
    run = tiny_run(format=load_format(format), monitors=[SingularValues(every=12)])
    readings = {record["reading"]: record["values"] for record in train(run).of("reading")}
    for path in LAYERS:
        expected = sigma_of(run.model.get_submodule(path).weight)  # type: ignore[arg-type]
        assert readings["effective-rank"][path] == pytest.approx(obvious_effective_rank(expected), rel=1e-6)
        assert readings["rank99"][path] == obvious_rank99(expected)
        assert readings["spectral-norm"][path] == pytest.approx(expected[0], rel=1e-6)

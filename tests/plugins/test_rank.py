"""The stable rank, against a full singular value decomposition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from altgrad_rank import StableRank
from altgrad_rank.stable_rank import stable_rank
from torch import Tensor

from altgrad_core import Updated, Weight


def by_svd(weight: Tensor) -> float:
    sigma = torch.linalg.svdvals(weight.double().flatten(1))
    return float((sigma**2).sum() / sigma[0] ** 2)


@pytest.mark.parametrize("shape", [(8, 8), (64, 16), (16, 64), (256, 128), (1, 9), (9, 1), (4, 3, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_the_singular_values(shape: tuple[int, ...], seed: int) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    assert stable_rank(weight) == pytest.approx(by_svd(weight), rel=1e-9)


def test_ranks_by_hand() -> None:
    assert stable_rank(torch.eye(5)) == pytest.approx(5.0)
    assert stable_rank(torch.ones(4, 7)) == pytest.approx(1.0)
    assert stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]))) == pytest.approx(1.5)


def test_a_zero_matrix_has_rank_zero_and_a_broken_one_none() -> None:
    assert stable_rank(torch.zeros(3, 3)) == 0.0
    assert stable_rank(torch.tensor([[1.0, float("nan")]])) is None
    assert stable_rank(torch.tensor([[1.0, float("inf")]])) is None


@pytest.mark.parametrize("power", [-120, -60, 0, 60, 120])
def test_it_does_not_depend_on_the_scale(power: int) -> None:
    weight = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    assert stable_rank(weight * 2.0**power) == pytest.approx(by_svd(weight), rel=1e-9)


def test_the_monitor_reports_finite_layers_only(view_of: Callable[..., Any]) -> None:
    good, bad = torch.eye(3), torch.full((3, 3), float("nan"))
    event = Updated(1, view_of(Weight("good", good), Weight("bad", bad)), 1.0, 0.1)
    assert StableRank(every=1).observe(event) == {"good": pytest.approx(3.0)}

"""The stable rank: from all singular values, within a proven error, and its monitor, against a full SVD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from altgrad_rank import StableRank
from altgrad_rank.bounded import all_eigenvalues_are_below, bounded_stable_rank, gram_matrix, leading_pair
from altgrad_rank.stable_rank import near_one, stable_rank
from torch import Tensor

from altgrad_core import Updated, Weight, load_format
from altgrad_core.testing.tiny import LAYERS, tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
SHAPES = [(8, 8), (64, 16), (16, 64), (300, 128), (1, 9), (9, 1), (4, 3, 2)]
ROUNDING = 3e-6  # of float32 products

FLAT = [1.0] * 96
CLUSTERED = [1.0 - 1e-7 * i for i in range(48)] + [0.5] * 48
TWINS = [1.0, 1.0 - 1e-4, *[0.01] * 94]
SPECTRA = {
    "flat": FLAT,
    "clustered": CLUSTERED,
    "twins": TWINS,
    "rank one": [1.0] + [0.0] * 95,
    "rank two": [1.0, 0.999] + [0.0] * 94,
    "one of many": [1.02] + [1.0] * 95,
    "steep": [10.0**-i for i in range(96)],
    "slow": [1 / (1 + i) for i in range(96)],
    "even": [1 - i / 96 for i in range(96)],
}


def by_svd(weight: Tensor) -> float:
    sigma = torch.linalg.svdvals(weight.double().flatten(1))
    return float((sigma**2).sum() / sigma[0] ** 2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_spectrum(sigma: list[float], *, columns: int = 160) -> tuple[Tensor, Tensor]:
    """A matrix of these singular values, and its left singular vectors as columns."""
    left = torch.linalg.qr(normal(len(sigma), len(sigma), seed=1).double()).Q
    right = torch.linalg.qr(normal(columns, len(sigma), seed=2).double()).Q
    return (left * torch.tensor(sigma, dtype=torch.float64) @ right.T).float(), left.float()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_the_singular_values(shape: tuple[int, ...], seed: int) -> None:
    weight = normal(*shape, seed=seed)
    assert stable_rank(weight) == pytest.approx(by_svd(weight), rel=1e-9)


@pytest.mark.parametrize("rank", [stable_rank, lambda weight: bounded_stable_rank(weight)[0]])
def test_ranks_by_hand(rank: Callable[[Tensor], float | None]) -> None:
    assert rank(torch.eye(5)) == pytest.approx(5.0)
    assert rank(torch.ones(4, 7)) == pytest.approx(1.0)
    assert rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]))) == pytest.approx(1.5)
    assert rank(torch.zeros(3, 3)) == 0.0
    assert rank(torch.zeros(0, 3)) == 0.0
    assert rank(torch.tensor([[1.0, float("nan")]])) is None
    assert rank(torch.tensor([[1.0, float("inf")]])) is None


@pytest.mark.parametrize("power", [-148, -120, -60, 0, 60, 125])
def test_it_does_not_depend_on_the_scale(power: int) -> None:
    weight = torch.randint(-2, 3, (6, 6), generator=torch.Generator().manual_seed(0)).double()
    scaled = (weight * 2.0**power).float()
    assert stable_rank(scaled) == pytest.approx(by_svd(weight), rel=1e-9)
    assert bounded_stable_rank(scaled)[0] == bounded_stable_rank(weight)[0] == pytest.approx(by_svd(weight), rel=1e-6)


@pytest.mark.parametrize("power", [-149, -30, 0, 127])
def test_a_matrix_is_brought_near_one_by_a_power_of_two(power: int) -> None:
    weight = torch.tensor([[2.0**power, 0.0]], dtype=torch.float64).float()
    matrix, exponent = near_one(weight)
    assert matrix is not None
    assert (matrix.tolist(), exponent) == ([[0.5, 0.0]], power + 1)


@pytest.mark.parametrize("tolerance", [1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_error_is_bounded_whatever_the_spectrum(name: str, tolerance: float) -> None:
    weight, left = with_spectrum(SPECTRA[name])
    for matrix in (weight, weight.T.contiguous(), weight * 2.0**-100, weight * 2.0**100):
        exact = by_svd(matrix)
        for start in (None, left[:, 0], left[:, 1], left[:, -1], torch.zeros(96), normal(96, seed=5)):
            rank, _ = bounded_stable_rank(matrix, start, tolerance=tolerance)
            assert rank is not None
            assert exact * (1 - ROUNDING) <= rank <= exact * (1 + tolerance + ROUNDING)


@pytest.mark.parametrize("shape", [(1024, 256), (300, 700)])
def test_the_error_is_bounded_for_weights_that_move(shape: tuple[int, int]) -> None:
    weight, vector = normal(*shape), None
    for step in range(6):
        rank, vector = bounded_stable_rank(weight, vector)
        assert rank is not None
        assert by_svd(weight) * (1 - ROUNDING) <= rank <= by_svd(weight) * (1 + 1e-3 + ROUNDING)
        weight = weight + 0.1 * normal(*shape, seed=step + 1) + 0.05 * step * normal(shape[0], 1) * normal(1, shape[1])


def test_it_leaves_the_second_singular_vector_once_the_first_has_overtaken() -> None:
    """An earlier iteration began there, stayed there, and reported ranks beyond those of any matrix."""
    weight, left = with_spectrum([100.0, *FLAT])
    rank, vector = bounded_stable_rank(weight, left[:, 1])
    assert vector is not None
    assert rank == pytest.approx(by_svd(weight), rel=1e-5)
    assert abs(float(vector @ left[:, 0])) == pytest.approx(1, abs=1e-4)


def test_a_value_that_is_not_proven_is_computed_from_all_singular_values(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, left = with_spectrum([2.0, *FLAT])
    stuck = (1.0, left[:, 1])
    monkeypatch.setattr("altgrad_rank.bounded.leading_pair", lambda gram, start, tolerance: stuck)
    assert bounded_stable_rank(weight) == (stable_rank(weight), None)


def test_the_upper_bound_refuses_what_is_not_the_largest() -> None:
    gram = torch.diag(torch.tensor([4.0, 9.0, 1.0]))
    assert all_eigenvalues_are_below(9.001, gram)
    assert not all_eigenvalues_are_below(8.999, gram)
    assert not all_eigenvalues_are_below(4.004, gram)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (600, 700), (700, 513)])
def test_the_gram_matrix_is_the_smaller_one(shape: tuple[int, int]) -> None:
    matrix = torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(0)).float()
    expected = matrix @ matrix.T if shape[0] <= shape[1] else matrix.T @ matrix
    assert torch.equal(gram_matrix(matrix), expected)  # small integers: exact


def test_the_leading_pair_is_an_eigenpair() -> None:
    gram = gram_matrix(normal(200, 300))
    value, vector = leading_pair(gram, normal(200, seed=3), tolerance=1e-5)
    assert float((gram @ vector - value * vector).norm()) < 1e-2 * value
    assert value == pytest.approx(float(torch.linalg.eigvalsh(gram.double())[-1]), rel=1e-5)


def test_the_monitor_reports_finite_layers_only(view_of: Callable[..., Any]) -> None:
    good, bad = torch.eye(3), torch.full((3, 3), float("nan"))
    event = Updated(1, view_of(Weight("good", good), Weight("bad", bad)), 1.0, 0.1)
    assert StableRank(every=1).observe(event) == {"good": pytest.approx(3.0)}


@pytest.mark.parametrize("format", EIGHT)
def test_the_monitor_reports_the_ranks_of_a_run_and_resumes_to_the_bit(format: str) -> None:
    def run() -> Any:
        return tiny_run(format=load_format(format), monitors=[StableRank(every=2)])

    whole, first, second = run(), run(), run()
    expected = train(whole).of("reading")
    tape = train(first, until=5)
    second.restore(first.files())
    assert train(second, tape).of("reading") == expected
    last = {path: whole.model.get_submodule(path).weight.detach() for path in LAYERS}
    assert expected[-1]["values"] == {path: pytest.approx(by_svd(weight), rel=1e-3) for path, weight in last.items()}

"""Eigenvalues and trace without the matrix, against torch's full Hessian of a tiny model and its eigenvalues."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from altgrad_curvature import Curvature
from altgrad_curvature.hessian import FlatHessian, hutchinson, largest_eigenvalues
from torch import Tensor, nn
from torch.nn import functional

from altgrad_core import Backpropagated
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.loop.dispatch import Dispatch
from altgrad_core.running.model.layers import QuantizedModule, detach
from altgrad_core.testing import check_monitor
from altgrad_core.testing.tiny import LAYERS, Tape, generators, tiny_run, train


def flat(matrix: Tensor) -> FlatHessian:
    """The products of an explicit matrix."""
    return FlatHessian(lambda v: {"m": (matrix.float() @ v["m"])}, {"m": (len(matrix),)})


def symmetric(*eigenvalues: float, seed: int = 0) -> Tensor:
    """A matrix with these eigenvalues in random directions."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(
        torch.randn(len(eigenvalues), len(eigenvalues), generator=generator, dtype=torch.float64)
    )
    return basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T


@pytest.mark.parametrize("seed", range(4))
def test_eigenvalues_are_found_in_order_of_magnitude_with_their_signs(seed: int) -> None:
    matrix = symmetric(-8.0, 5.0, 3.0, -1.0, 0.5, 0.0, seed=seed)
    found = largest_eigenvalues(flat(matrix), 4, iterations=200, tolerance=1e-6, seed=seed)
    assert [pair.value for pair in found] == pytest.approx([-8.0, 5.0, 3.0, -1.0], rel=1e-5)
    for pair in found:
        assert float(pair.vector.norm()) == pytest.approx(1.0)
        assert float((matrix @ pair.vector - pair.value * pair.vector).norm()) == pytest.approx(pair.residual, abs=1e-5)


@pytest.mark.parametrize("iterations", [2, 3, 5, 20])
@pytest.mark.parametrize("seed", range(5))
def test_however_early_it_ends_an_eigenvalue_is_within_the_residual(iterations: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix = root + root.T
    true = torch.linalg.eigvalsh(matrix)
    for pair in largest_eigenvalues(flat(matrix), 3, iterations=iterations, tolerance=0.05, seed=seed):
        assert float((true - pair.value).abs().min()) <= pair.residual * (1 + 1e-6) + 1e-5


def test_special_matrices() -> None:
    for matrix, expected in (
        (torch.zeros(3, 3), [0.0, 0.0]),
        (torch.eye(3) * 2, [2.0, 2.0]),
        (torch.full((1, 1), -7.0), [-7.0]),
        (symmetric(3.0, -1.0), [3.0, -1.0]),  # fewer dimensions than vectors to search along
        (symmetric(3.0, -1.0, 0.5), [3.0, -1.0]),
        (torch.ones(5, 5), [5.0, 0.0]),
    ):
        found = largest_eigenvalues(flat(matrix), 2, iterations=9, tolerance=1e-6, seed=0)
        assert [pair.value for pair in found] == pytest.approx(expected, abs=1e-6)
    assert largest_eigenvalues(flat(torch.full((2, 2), math.nan)), 2, iterations=5, tolerance=0.01, seed=0) == []


def test_of_a_diagonal_matrix_one_probe_gives_the_trace_exactly() -> None:
    trace, error = hutchinson(flat(torch.diag(torch.tensor([1.0, -2.0, 4.5]))), 1, seed=0)
    assert trace == 3.5
    assert math.isnan(error)
    assert math.isnan(hutchinson(flat(torch.eye(2)), 0, seed=0)[0])


def test_the_estimate_of_a_trace_is_unbiased_and_its_error_is_of_the_stated_size() -> None:
    matrix = symmetric(4.0, -3.0, 2.0, 1.0, 0.5)
    estimates = [hutchinson(flat(matrix), 4, seed=seed) for seed in range(400)]
    off_by = torch.tensor([trace - 4.5 for trace, _ in estimates])
    stated = torch.tensor([error for _, error in estimates]).square().mean().sqrt()
    assert float(off_by.mean().abs()) < 4 * float(off_by.std()) / 20
    assert float(off_by.std()) == pytest.approx(float(stated), rel=0.15)


def full_hessian(run: Run, step: int, names: tuple[str, ...]) -> Tensor:
    """Of the unquantized loss of a step with respect to some weights, in float64, by torch."""
    model = copy.deepcopy(run.model)
    for module in model.modules():
        if isinstance(module, QuantizedModule):
            detach(module)
    model.double()
    tokens, targets = run.batches.train(step, 0)
    weights = [model.get_parameter(f"{name}.weight").detach() for name in names]

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([weight.numel() for weight in weights])
        changed = {f"{n}.weight": p.view_as(w) for n, p, w in zip(names, parts, weights, strict=True)}
        logits = torch.func.functional_call(model, changed, tokens)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    full: Tensor = torch.autograd.functional.hessian(loss, torch.cat([w.flatten() for w in weights]))  # type: ignore[assignment]
    return full


@pytest.fixture(scope="module")
def hessians() -> dict[int, dict[str, Tensor]]:
    """Steps 4 and 8 of a tiny run: the full Hessian of all weights together and of each by itself."""
    found: dict[int, dict[str, Tensor]] = {}
    run = tiny_run()

    class Beside(Dispatch):
        def emit(self, event: Any, own: dict[str, float]) -> Any:
            if isinstance(event, Backpropagated) and event.step in (4, 8):
                together = {"*": full_hessian(run, event.step, LAYERS)}
                found[event.step] = together | {name: full_hessian(run, event.step, (name,)) for name in LAYERS}
            return []

    train(run, dispatch=Beside((), (), None))  # type: ignore[arg-type]
    return found


def reported(**options: Any) -> dict[tuple[int, str], dict[str, float]]:
    tape = train(tiny_run(monitors=[Curvature(every=4, end=8, **options)]))
    assert tape.of("monitor-failed") == []
    return {(record["step"], record["reading"]): record["values"] for record in tape.of("reading")}


@pytest.mark.parametrize("each_layer", [False, True])
def test_in_a_run_the_top_eigenvalues_are_those_of_the_full_hessian(
    each_layer: bool, hessians: dict[int, dict[str, Tensor]]
) -> None:
    readings = reported(eigenvalues=3, iterations=60, tolerance=1e-4, probes=0, each_layer=each_layer)
    names = LAYERS if each_layer else ("*",)
    for step, by_name in hessians.items():
        assert set(readings[step, "hessian-top-1"]) == set(names)
        for name in names:
            true = torch.linalg.eigvalsh(by_name[name])
            top = true[true.abs().argsort(descending=True)][:3]
            for place in (1, 2, 3):
                value = readings[step, f"hessian-top-{place}"][name]
                assert value == pytest.approx(float(top[place - 1]), rel=1e-4)
            assert readings[step, "hessian-residual"][name] < 1e-2 * float(top[0].abs())
    assert not any(reading.startswith("hessian-trace") for _, reading in readings)


def test_with_the_default_effort_the_top_is_right_within_the_residual(hessians: dict[int, dict[str, Tensor]]) -> None:
    readings = reported()
    for step, by_name in hessians.items():
        true, value = torch.linalg.eigvalsh(by_name["*"]), readings[step, "hessian-top-1"]["*"]
        assert float((true - value).abs().min()) <= readings[step, "hessian-residual"]["*"] + 1e-5
        assert value == pytest.approx(float(true[true.abs().argmax()]), rel=0.01)


@pytest.mark.parametrize("probes", [8, 200])
def test_in_a_run_the_trace_is_that_of_the_full_hessian(probes: int, hessians: dict[int, dict[str, Tensor]]) -> None:
    readings = reported(eigenvalues=0, probes=probes)
    for step, by_name in hessians.items():
        true, error = float(by_name["*"].trace()), readings[step, "hessian-trace-error"]["*"]
        assert abs(readings[step, "hessian-trace"]["*"] - true) < 4 * error
        assert error < 2 * abs(true) / math.sqrt(probes)
    assert {reading for _, reading in readings} == {"hessian-trace", "hessian-trace-error"}


def test_the_same_step_gives_the_same_numbers_and_no_shared_generator_is_touched() -> None:
    tape = train(tiny_run(monitors=[Curvature(every=4)]))
    again = train(tiny_run(monitors=[Curvature(every=4)]))
    assert tape.of("reading") == again.of("reading")
    before = generators()
    hutchinson(flat(torch.eye(3)), 3, seed=0)
    largest_eigenvalues(flat(torch.eye(3)), 2, iterations=3, tolerance=0.1, seed=0)
    assert generators() == before


def test_tied_weights_are_one_weight(view: Any) -> None:
    readings = Curvature(eigenvalues=1, probes=1).observe(Backpropagated(1, view, 1.0, 1.0))
    assert readings["hessian-top-1"] == {"*": pytest.approx(3.0)}
    assert readings["hessian-trace"] == {"*": pytest.approx(12.0)}  # of four elements, not of eight


@pytest.fixture
def view() -> Any:
    """Two layers with one weight, one that is not trained, and three times the identity for a Hessian."""
    from types import SimpleNamespace

    from altgrad_core import Weight

    shared = nn.Parameter(torch.ones(2, 2))

    def hvp(v: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert set(v) == {"one"}
        return {path: 3 * direction for path, direction in v.items()}

    weights = [Weight(path, shared.detach(), torch.ones(2, 2)) for path in ("one", "two")]
    frozen = Weight("frozen", torch.ones(2, 2), None)
    return SimpleNamespace(weights=lambda layers: iter([*weights, frozen]), hvp=hvp)


@pytest.mark.parametrize(
    "options", [{"each_layer": True, "iterations": 2, "probes": 1}, {"eigenvalues": 2, "iterations": 2, "probes": 2}]
)
def test_it_keeps_the_laws_with_other_options(options: dict[str, Any]) -> None:
    check_monitor(Curvature, **options)


def test_readings_are_absent_where_nothing_is_defined() -> None:
    tape, run = Tape(), tiny_run(monitors=[Curvature(every=4)])
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(math.nan)
    train(run, tape)
    assert tape.of("reading") == tape.of("monitor-failed") == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["top-1", "residual", "trace", "trace-error"]),
        ({"eigenvalues": 3, "probes": 1}, ["top-1", "top-2", "top-3", "residual", "trace"]),
        ({"eigenvalues": 0, "probes": 2}, ["trace", "trace-error"]),
        ({"probes": 0}, ["top-1", "residual"]),
    ],
)
def test_it_reports_what_it_is_asked_for(options: dict[str, Any], names: list[str]) -> None:
    expected = [f"hessian-{name}" for name in names]
    assert list(Curvature(**options).readings()) == expected
    assert set(expected) <= set(Curvature.reports)
    assert {reading for _, reading in reported(**options)} == set(expected)


def test_asked_for_nothing_it_says_so() -> None:
    with pytest.raises(ValueError, match="eigenvalues and probes are both 0: there is nothing to measure"):
        Curvature(eigenvalues=0, probes=0)

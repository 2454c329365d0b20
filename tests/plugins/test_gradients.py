"""Gradient statistics, recomputed one element at a time in Python floats, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from altgrad_gradients import DeadNeurons, GradientFidelity, GradientNorms, GradientSparsity
from altgrad_gradients.fidelity import Moments, cosine, moments, snr
from altgrad_gradients.silence import silent_for
from altgrad_gradients.zeros import sparsity, zero_regions
from torch import Tensor

from altgrad_core import Backpropagated, Monitor, Weight
from altgrad_core.running.loop.dispatch import Dispatch
from altgrad_core.testing import check_monitor
from altgrad_core.testing.tiny import Tape, tiny_run, train

Event = Callable[..., Backpropagated]
NAN, INF = math.nan, math.inf


@pytest.fixture
def event_of(view_of: Callable[..., SimpleNamespace]) -> Event:
    """An event with these gradients, and a twin with those."""

    def make(step: int = 1, twin: dict[str, Tensor] | None = None, **gradients: Tensor | None) -> Backpropagated:
        weights = [Weight(path, torch.ones(2, 2), gradient) for path, gradient in gradients.items()]
        view = view_of(*weights)
        view.twin = lambda: twin
        return Backpropagated(step, view, 1.0, 1.0)

    return make


def random_gradient(*shape: int, seed: int = 0, zeros: float = 0.5) -> Tensor:
    """Of all sizes, with some exact zeros."""
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(shape, generator=generator) * 10 ** torch.randn(shape, generator=generator)
    return gradient * (torch.rand(shape, generator=generator) > zeros)


def plain(readings: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {name: {path: float(value) for path, value in values.items()} for name, values in readings.items()}


@pytest.mark.parametrize("seed", range(5))
def test_norms_are_the_root_of_the_sum_of_squares_and_the_largest_magnitude(seed: int, event_of: Event) -> None:
    gradient = random_gradient(7, 5, seed=seed)
    elements = gradient.flatten().tolist()
    assert GradientNorms().observe(event_of(a=gradient, none=None)) == {
        "gradient-l2": {"a": pytest.approx(math.sqrt(math.fsum(x * x for x in elements)), rel=1e-14)},
        "gradient-linf": {"a": max(map(abs, elements))},
    }


def test_norms_of_extreme_and_broken_gradients(event_of: Event) -> None:
    gradients = {
        "large": torch.full((2, 2), 2.0**127),  # whose squares are beyond float32
        "small": torch.full((2, 2), 2.0**-149),
        "zero": torch.zeros(2, 2),
        "infinite": torch.tensor([[1.0, -INF]]),
        "broken": torch.tensor([[INF, NAN]]),
        "empty": torch.zeros(0, 2),
    }
    assert GradientNorms().observe(event_of(**gradients)) == {
        "gradient-l2": {"large": 2.0**128, "small": 2.0**-148, "zero": 0.0, "infinite": INF},
        "gradient-linf": {"large": 2.0**127, "small": 2.0**-149, "zero": 0.0, "infinite": INF},
    }
    assert GradientNorms().observe(event_of()) == {"gradient-l2": {}, "gradient-linf": {}}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [1e-6, 0.01, 1.0, 100.0])
def test_fidelity_is_cosine_and_ratio_of_the_definition(seed: int, noise: float, event_of: Event) -> None:
    g = random_gradient(6, 9, seed=seed)
    q = g + noise * random_gradient(6, 9, seed=seed + 100)
    a, b = g.flatten().tolist(), q.flatten().tolist()
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    length = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    error = math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    assert GradientFidelity().observe(event_of(twin={"a": g, "other": g}, a=q, none=None)) == {
        "gradient-cosine": {"a": pytest.approx(dot / length, rel=1e-12)},
        "gradient-snr": {"a": pytest.approx(10 * math.log10(math.fsum(x * x for x in a) / error), rel=1e-12)},
    }


def test_fidelity_by_hand_and_what_is_undefined(event_of: Event) -> None:
    one, zero = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    twin = {"same": one, "tenth": one, "opposite": one, "zero": zero, "lost": one, "broken": one, "burst": one}
    gradients = {
        "same": one,
        "tenth": 0.9 * one,
        "opposite": -one,
        "zero": one,
        "lost": zero,
        "broken": torch.tensor([[3.0, NAN]]),
        "burst": torch.tensor([[3.0, INF]]),
        "fresh": one,  # which the twin has no gradient for
    }
    readings = GradientFidelity().observe(event_of(twin=twin, **gradients))
    assert readings["gradient-cosine"] == {"same": 1.0, "tenth": pytest.approx(1.0), "opposite": -1.0}
    assert readings["gradient-snr"] == {
        "same": 200.0,
        "tenth": pytest.approx(20.0, abs=1e-5),
        "opposite": pytest.approx(-10 * math.log10(4)),
        "lost": 0.0,
    }


def test_a_ratio_is_never_above_200_dB_and_a_cosine_never_above_1() -> None:
    assert snr(Moments(1.0, 1.0, 1.0, 1e-30)) == 200.0
    assert snr(Moments(1.0, 1.0, 1.0, 1e-19)) == pytest.approx(190.0)
    assert cosine(Moments(1.0, 1.0, 1.0 + 1e-15, 0.0)) == 1.0
    assert cosine(Moments(1e-300, 1e-300, 1e-300, 0.0)) == pytest.approx(1.0)  # whose product is beyond float64
    assert moments({}) == {}


def test_without_gradients_no_twin_is_asked_for(event_of: Event) -> None:
    assert GradientFidelity().observe(event_of(twin=None, none=None)) == {"gradient-cosine": {}, "gradient-snr": {}}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9, 1.0])
def test_zeros_are_counted_one_by_one(seed: int, zeros: float, event_of: Event) -> None:
    gradient = random_gradient(6, 8, seed=seed, zeros=zeros)
    table = gradient.tolist()
    dead_rows = [all(x == 0 for x in row) for row in table]
    dead_columns = [all(row[column] == 0 for row in table) for column in range(8)]
    in_regions = sum(dead_rows[row] or dead_columns[column] for row in range(6) for column in range(8))
    assert plain(GradientSparsity().observe(event_of(a=gradient, none=None, empty=torch.zeros(0, 3)))) == {
        "gradient-sparsity": {"a": pytest.approx(sum(x == 0 for row in table for x in row) / 48)},
        "gradient-zero-regions": {"a": pytest.approx(in_regions / 48)},
    }


def test_zeros_by_hand() -> None:
    gradient = torch.tensor([[1.0, 0.0, 0.0], [-0.0, NAN, 0.0], [0.0, 0.0, 0.0]])
    assert float(sparsity(gradient)) == pytest.approx(7 / 9)
    assert float(zero_regions(gradient)) == pytest.approx(5 / 9)  # one row and one column, which cross
    assert float(zero_regions(torch.eye(4))) == 0.0
    assert float(zero_regions(torch.ones(2, 3, 4))) == 0.0


def test_silence_is_counted_in_steps_and_broken_by_any_gradient() -> None:
    silent = silent_for(torch.tensor([[0.0, 9e-9], [-1e-8, 0.0], [NAN, 0.0]]), None, threshold=1e-8)
    assert silent.tolist() == [1, 0, 0]
    silent = silent_for(torch.zeros(3, 2), silent, threshold=1e-8)
    assert silent.tolist() == [2, 1, 1]
    silent = silent_for(torch.tensor([[0.0, 0.0], [0.0, INF], [0.0, 1e-9]]), silent, threshold=1e-8)
    assert (silent.tolist(), silent.dtype) == ([3, 0, 2], torch.int32)


def test_units_are_dead_after_a_whole_window_and_alive_again_after_one_gradient(event_of: Event) -> None:
    monitor = DeadNeurons(window=3, every=2)
    rows = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]  # which has a gradient
    history: list[list[int]] = []
    for step, row in enumerate(rows, start=1):
        history.append(row)
        gradient = torch.tensor(row, dtype=torch.float32)[:, None].expand(4, 5) * 1e-7
        readings = monitor.observe(event_of(step, a=gradient, none=None))
        if step % 2:
            assert readings == {}
            continue
        dead = sum(not any(past[unit] for past in history[-3:]) for unit in range(4))
        assert plain(readings) == {
            "silent-neurons": {"a": row.count(0)},
            "dead-neurons": {} if step < 3 else {"a": dead},
            "dead-fraction": {} if step < 3 else {"a": dead / 4},
        }
    assert dead == 1


def test_a_step_without_a_gradient_is_not_looked_at(event_of: Event) -> None:
    monitor = DeadNeurons(window=2, every=1)
    monitor.observe(event_of(1, a=torch.zeros(2, 2)))
    assert plain(monitor.observe(event_of(2, a=None))) == {
        "silent-neurons": {},
        "dead-neurons": {},
        "dead-fraction": {},
    }
    assert plain(monitor.observe(event_of(3, a=torch.zeros(2, 2))))["dead-neurons"] == {"a": 2}


@pytest.mark.parametrize("options", [{"window": 1}, {"window": 5}, {"window": 5, "threshold": 0.05}], ids=str)
def test_dead_neurons_keep_the_laws_with_windows_that_fill(options: dict[str, Any]) -> None:
    check_monitor(DeadNeurons, **options)


@pytest.mark.parametrize("threshold", [0.07, 0.08, 0.09])
def test_in_a_run_units_are_dead_that_were_silent_for_a_window(threshold: float) -> None:
    gradients: list[Tensor] = []

    class Keep(Monitor):
        "Keeps the gradients of one layer."

        name = "keep"  # type: ignore[misc]
        on = Backpropagated

        def observe(self, event: Backpropagated) -> dict[str, float]:
            gradients.extend(w.gradient.clone() for w in event.weights("wide") if w.gradient is not None)
            return {}

    run = tiny_run(monitors=[Keep(), DeadNeurons(window=4, every=1, threshold=threshold, layers="wide")])
    readings = [r for r in train(run).of("reading") if r["reading"] == "dead-neurons"]
    largest = torch.stack(gradients).abs().amax(dim=2)  # step by unit
    expected = {step: int((largest[step - 4 : step].amax(dim=0) < threshold).sum()) for step in range(4, 13)}
    assert {r["step"]: r["values"]["wide"] for r in readings} == expected
    assert sum(expected.values()) > 0


def test_in_a_run_the_fidelity_is_that_of_its_gradients_and_the_twins() -> None:
    run, tape = tiny_run(monitors=[GradientFidelity(every=4)]), Tape()
    seen: dict[int, dict[str, tuple[Tensor, Tensor]]] = {}

    class Beside(Dispatch):
        def emit(self, event: Any, own: dict[str, float]) -> Any:
            if isinstance(event, Backpropagated):
                twin = event.twin()
                seen[event.step] = {w.path: (w.gradient.clone(), twin[w.path].clone()) for w in event.weights()}
            return super().emit(event, own)

    train(run, tape, dispatch=Beside(run.monitors, (), tape))  # type: ignore[arg-type]
    reported = {(r["step"], r["reading"]): r["values"] for r in tape.of("reading")}
    assert sorted({step for step, _ in reported}) == [4, 8, 12]
    for step, layer, q, g in _flat(seen):
        if step % 4 == 0:
            similarity = torch.nn.functional.cosine_similarity(g.flatten(), q.flatten(), dim=0)
            assert reported[step, "gradient-cosine"][layer] == pytest.approx(float(similarity), abs=1e-6)
            ratio = float(20 * (g.norm() / (g - q).norm()).log10())
            assert reported[step, "gradient-snr"][layer] == pytest.approx(ratio, abs=1e-4)
            assert 5 < ratio < 60


def _flat(seen: dict[int, dict[str, tuple[Tensor, Tensor]]]) -> Iterator[tuple[int, str, Tensor, Tensor]]:
    for step, layers in seen.items():
        for layer, pair in layers.items():
            yield step, layer, *pair

"""The error of an effect that comes from the choice of the validation text, against numpy and a bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.blocks import sampled
from altgrad_core.experiments.study.study import Study

SEEDS = (1, 2, 3, 4)


def cells(made: Any) -> list[Any]:
    return [
        made(optimizer=optimizer, seed=seed, rate=rate, loss=3.0 - 0.1 * (optimizer != "adamw") + 0.01 * seed + rate)
        for optimizer in ("adamw", "manifold-adamw")
        for seed in SEEDS
        for rate in (0.01, 0.1, 1.0)
    ]


def test_both_errors_are_those_of_the_means(write: Callable[..., Path], made: Any) -> None:
    (effect,) = Analysis(Study.read(write(cells(made)))).effects
    random = numpy.random.default_rng(0)
    own = {seed: random.normal(size=50) for seed in SEEDS}
    base = {seed: random.normal(size=50) + numpy.linspace(0, 3, 50) for seed in SEEDS}
    found = sampled(effect, lambda arm, rate, seed: (base if arm is effect.against else own)[seed].tolist())
    over_seeds = numpy.mean([base[seed] - own[seed] for seed in SEEDS], axis=0)
    assert found is not None and found.blocks == 50
    assert found.block_error == pytest.approx(over_seeds.std(ddof=1) / math.sqrt(50))
    assert found.seed_error == pytest.approx(numpy.std(effect.differences, ddof=1) / 2)
    means = [random.choice(over_seeds, 50).mean() for _ in range(4000)]  # what other texts would have given
    assert found.block_error == pytest.approx(numpy.std(means), rel=0.1)
    half = (found.interval.high - found.interval.low) / 2
    assert half == pytest.approx(3.182446 * math.hypot(found.seed_error, found.block_error))  # t, 3 degrees of freedom


def test_blocks_that_are_not_known_or_not_shared_give_nothing(write: Callable[..., Path], made: Any) -> None:
    (effect,) = Analysis(Study.read(write(cells(made)))).effects
    assert sampled(effect, lambda *_: ()) is None
    assert sampled(effect, lambda arm, rate, seed: [1.0] * (5 if arm is effect.against else 6)) is None


def test_the_parts_of_an_analysis_come_from_the_records(write: Callable[..., Path], made: Any) -> None:
    study = Study.read(write(cells(made)))
    analysis = Analysis(study)
    assert (study.unit, study.initial_loss) == ("nats per token", pytest.approx(math.log(64)))
    (own,) = analysis.sampled
    assert (own.blocks, own.block_error) == (2, pytest.approx(0.0, abs=1e-12))  # the made-up blocks differ alike
    assert [share.name for share in analysis.variance or ()] == ["optimizer", "seed", "together, and noise"]
    assert [value > 0 for _, value in analysis.sensitivities] == [True, True]
    assert analysis.pooled == ()  # of one format


def test_gains_of_several_formats_are_pooled(write: Callable[..., Path], made: Any) -> None:
    formats = ("e4m3", "e5m2", "e3m4")
    many = [
        made(
            format=format,
            optimizer=optimizer,
            seed=seed,
            loss=3.0 + 0.001 * seed * (optimizer == "adamw") * (place + 1),
        )
        for place, format in enumerate(formats)
        for optimizer in ("adamw", "manifold-adamw")
        for seed in SEEDS
    ]
    ((optimizer, _, own),) = Analysis(Study.read(write(many))).pooled
    assert optimizer == "manifold-adamw" and set(own.gains) == set(formats) and own.seeds == len(SEEDS)
    assert own.raw["e3m4"] > own.gains["e3m4"] > own.mean

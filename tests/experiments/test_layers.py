"""Types of layers, their readings, and recipes that treat layers differently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.layers import (
    LayerMean,
    comparable,
    layer_type,
    role_of,
)
from altgrad_core.experiments.evidence.recipes import recipe_sentences
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("blocks.0.attn.qkv", "attention"),
        ("blocks.0.attn.c_proj", "attention"),
        ("blocks.11.mlp.c_proj", "MLP"),
        ("blocks.0.mlp.fc", "MLP"),
        ("lm_head", "classifier"),
        ("wte", "embeddings"),
        ("wpe", "embeddings"),
        ("model.layers.3.self_attn.q_proj", "attention"),
        ("model.layers.3.mlp.gate_proj", "MLP"),
        ("model.embed_tokens", "embeddings"),
        ("transformer.word_embeddings", "embeddings"),
        ("encoder.layer.0.attention.output.dense", "attention"),
        ("h.0.feed_forward.w1", "MLP"),
        ("classifier", "classifier"),
        ("output", "classifier"),
        ("conv1", "other"),
        ("0", "other"),
    ],
)
def test_the_type_of_a_layer_follows_from_its_path(path: str, expected: str) -> None:
    assert layer_type(path) == expected


def test_readings_are_averaged_over_the_layers_of_a_type(study: Read, made: Any) -> None:
    stalls = {"blocks.0.attn.qkv": 0.2, "blocks.0.attn.c_proj": 0.4, "lm_head": 0.9, "*": 7.0}
    cells = [made(seed=1, readings={"stall-ratio": stalls}), made(seed=2, readings={"stall-ratio": {"lm_head": 0.7}})]
    cells += [made(rate=1.0, loss=9.0, readings={"stall-ratio": {"lm_head": 0.0}}), made(rate=1.0, seed=2, loss=9.0)]
    found = {(mean.type, mean.reading): mean for mean in Analysis(study(cells)).layer_means}
    assert set(found) == {("attention", "stall-ratio"), ("classifier", "stall-ratio")}
    attention, classifier = found["attention", "stall-ratio"], found["classifier", "stall-ratio"]
    assert (attention.mean, attention.layers, attention.cells) == (pytest.approx(0.3), 2, 1)
    assert (classifier.mean, classifier.layers, classifier.cells) == (pytest.approx(0.8), 1, 2)


def test_nothing_was_read_nothing_is_told(study: Read, made: Any) -> None:
    assert Analysis(study([made()])).layer_means == ()


def recipes(made: Any, gain: float) -> list[Any]:
    head = {"layers": "lm_head", "weight": {"format": "e5m2"}}
    plain = [made(seed=seed, loss=2.0 + seed) for seed in (1, 2, 3)]
    return [*plain, *(made(seed=s, loss=2.0 + s - gain - 0.001 * s, more_rules=[head]) for s in (1, 2, 3))]


def test_a_recipe_by_layer_that_is_better_is_said_to_be(study: Read, made: Any) -> None:
    assert recipe_sentences(Analysis(study(recipes(made, 0.2)))) == (
        "With adamw, nats per token by recipe: e4m3 (lm_head=e5m2) 3.798 (3 seeds) and e4m3 4 (3 seeds); the first is better "
        "than the second (0.202 apart, 95 % interval 0.201 to 0.203, 3 seeds).",
    )


def test_a_recipe_by_layer_that_is_not_told_apart_is_said_not_to_be(study: Read, made: Any) -> None:
    (told,) = recipe_sentences(Analysis(study(recipes(made, -0.002))))
    assert "; the first is not told from the second (" in told


def test_the_same_recipe_for_all_layers_is_no_such_comparison(study: Read, made: Any) -> None:
    assert recipe_sentences(Analysis(study([made("e4m3"), made("e5m2")]))) == ()


def test_recipes_that_differ_in_their_layers_alone_are_compared(write: Callable[..., Path], made: Any) -> None:
    cells = [made(seed=seed, loss=2.0 + seed + 0.5 * (seed > 3)) for seed in range(1, 7)]
    directory = write(cells)
    for cell in cells[3:]:
        path = directory / cell.name / "resolved.toml"
        path.write_text(path.read_text().replace('[[recipe]]\nlayers = "*"', '[[recipe]]\nlayers = "blocks.*"'))
    (told,) = recipe_sentences(Analysis(Study.read(directory)))
    assert told == (
        "With adamw, nats per token by recipe: e4m3 [layers=*] 4 (3 seeds) and e4m3 [layers=blocks.*] 7.5 (3 seeds); too "
        "few seeds to compare the first with the second."
    )


def test_recipes_of_other_formats_or_with_other_differences_are_no_comparison_of_layers(
    write: Callable[..., Path], made: Any
) -> None:
    cells = [made("e4m3"), made("e5m2"), made("e4m3", quantizer={"rounding": "stochastic"})]
    directory = write(cells)
    for cell in cells[1:]:
        path = directory / cell.name / "resolved.toml"
        path.write_text(path.read_text().replace('[[recipe]]\nlayers = "*"', '[[recipe]]\nlayers = "blocks.*"'))
    assert recipe_sentences(Analysis(Study.read(directory))) == ()


def mean(format: str, optimizer: str, variant: str = "") -> LayerMean:
    return LayerMean(format, optimizer, variant, "MLP", "stall-ratio", 0.5, 1, 1)


def test_only_like_runs_are_compared_by_layer() -> None:
    both = [mean(form, optimizer, "plain") for form in ("e4m3", "e5m2") for optimizer in ("adamw", "grid")]
    unlike = [mean("e4m3", "adamw", "headed"), mean("e4m3", "manifold-adamw", "plain")]
    assert comparable([*unlike, *both], "adamw") == both
    assert comparable([mean("e4m3", "adamw"), mean("e5m2", "grid")], "adamw") == [mean("e4m3", "adamw")]
    assert comparable([mean("e4m3", "lamb"), mean("e5m2", "grid")], "adamw") == [mean("e5m2", "grid")]
    assert comparable([], "adamw") == []


@pytest.mark.parametrize(
    ("reading", "role"),
    [("gradient-underflow-rate", "gradient"), ("activation-nan-count", "activation"), ("code-use", "weight")],
)
def test_the_name_of_a_reading_tells_its_operand(reading: str, role: str) -> None:
    assert role_of(reading) == role

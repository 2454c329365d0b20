"""All mistakes of a manifest are named at once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_all_mistakes_of_a_manifest_are_told_at_once(altgrad: Callable[..., Any], tiny: Path) -> None:
    tiny.write_text(
        tiny.read_text()
        .replace('use = "nanogpt"', 'use = "nanogtp"')
        .replace("vocabulary = 16", "vocabularies = 16")
        .replace("lr = 0.1", "lrr = 0.1")
        .replace('weight = { format = "e4m3" }', 'weight = { format = "e4m4" }')
        .replace('use = "flips"', 'use = "flip"')
        .replace('use = "stop-on-divergence"', 'use = "stop-on-divergences"')
    )
    result = altgrad("check", tiny)
    assert result.code == 2
    assert [line.rpartition("; ")[0].split(": ", 2)[1:] for line in result.err.splitlines()[1:]] == [
        ["data.vocabularies", 'synthetic has no option "vocabularies"'],
        ["optimizer.lrr", 'manifold-adamw has no option "lrr"'],
        ["recipe[0].weight.format", 'no format "e4m4"'],
        ["monitor[0].use", 'no monitor "flip"'],
        ["intervention[1].use", 'no intervention "stop-on-divergences"'],
    ]
    assert 'model.use: no model "nanogtp"; did you mean "nanogpt"?' in result.err.splitlines()[0]


def test_all_patterns_that_match_no_layer_are_told_at_once(altgrad: Callable[..., Any], tiny: Path) -> None:
    settings = ["--set", "recipe[0].layers='x'", "--set", "monitor[0].layers='y'", "--set", "monitor[1].layers='z'"]
    result = altgrad("check", tiny, *settings)
    assert (result.code, [line.partition("; ")[0] for line in result.err.splitlines()]) == (
        2,
        [
            'altgrad: --set: recipe[0].layers: no layer matches "x"',
            '--set: monitor[0].layers: no layer matches "y"',
            '--set: monitor[1].layers: no layer matches "z"',
        ],
    )


def test_mistakes_in_keys_of_altgrad_and_in_those_of_plugins_are_told_together(
    altgrad: Callable[..., Any], tiny: Path
) -> None:
    tiny.write_text(
        tiny.read_text()
        .replace("steps = 6", "steps = 0")
        .replace("batch_size = 2", "batch_size = 0\nvocabularies = 3")
        .replace("lr = 0.1", "lrr = 0.1\nclip_norm = -1")
        .replace('weight = { format = "e4m3" }', 'weight = { format = "e4m4" }')
        .replace('scaling = "delayed"', 'scalin = "delayed"')
        .replace('use = "flips"', 'use = "flip"')
        + "\n[executor]\nuse = 'local'\n"
    )
    result = altgrad("check", tiny)
    told = [line.removeprefix("altgrad: ").split(": ")[1] for line in result.err.splitlines()]
    assert (result.code, sorted(told)) == (
        2,
        sorted(
            [
                "run.steps",
                "data.batch_size",
                "data.vocabularies",
                "optimizer.clip_norm",
                "optimizer.lrr",
                "monitor[0].use",
                "recipe[0].activation.scalin",
                "recipe[0].weight.format",
                "executor",
            ]
        ),
    )


@pytest.mark.parametrize("data", ["[]", '"x"', "3", "[[1]]", "[[]]"])
@pytest.mark.parametrize("table", ["run", "model", "data", "optimizer", "recipe", "monitor", "tracker", "executor"])
def test_what_is_no_table_does_not_hide_the_other_mistakes(
    table: str, data: str, altgrad: Callable[..., Any], tiny: Path
) -> None:
    text = tiny.read_text().replace('use = "stop-on-divergence"', 'use = "stop-on-divergences"')
    loaded = tomllib.loads(text) | {table: json.loads(data)}
    tiny.with_suffix(".json").write_text(json.dumps(loaded))
    result = altgrad("check", tiny.with_suffix(".json"))
    assert result.code == 2
    assert any(f": {table}" in line for line in result.err.splitlines()) or data == "[]"
    assert 'intervention[1].use: no intervention "stop-on-divergences"' in result.err

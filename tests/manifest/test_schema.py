"""The schema: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from altgrad_core import ManifestError
from altgrad_core.manifest.explain import validated
from altgrad_core.manifest.load import load_manifest
from altgrad_core.manifest.schema import Manifest, Schedule

GOOD = """
[run]
steps = 10
[model]
use = "m"
[data]
use = "d"
[optimizer]
use = "o"
lr = 0.1
"""


def parsed(folder: Path, text: str) -> Manifest:
    path = folder / "m.toml"
    path.write_text(text)
    source = load_manifest(path)
    return validated(Manifest, source.data, source)


def refusal(folder: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parsed(folder, text)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


def test_unknown_keys_of_a_plugin_table_are_its_options(tmp_path: Path) -> None:
    assert parsed(tmp_path, GOOD).optimizer.options == {"lr": 0.1}


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("steps = 10", 'steps = "10"\nsed = 3') + '[[recipe]]\nlayers = "*"\nweight = { formt = "x" }\n'
    assert refusal(tmp_path, text) == [
        'm.toml:3: run.steps: expected a valid integer, got "10"',
        'm.toml:4: run.sed: no such key; did you mean "seed"?',
        "m.toml:14: recipe[0].weight.format: missing; expected the name of a format, or a table of its facts",
        'm.toml:14: recipe[0].weight.formt: no such key; did you mean "format"?',
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("steps = 10\nseed = true", "m.toml:4: run.seed: expected a valid integer, got true"),
        ("steps = 0", "m.toml:3: run.steps: expected a value greater than 0, got 0"),
        ("steps = 1.5", "m.toml:3: run.steps: expected a valid integer, got 1.5"),
        ("steps = 9\nname = '../x'", r'm.toml:4: run.name: expected text that matches ^$|^[A-Za-z0-9][A-Za-z0-9._-]*$, got "../x"'),
        ("steps = 9\ndevice = 'tpu'", "m.toml:4: run.device: expected 'auto', 'cpu' or 'cuda', got \"tpu\""),
        ("steps = 9\nzzz = 1", "m.toml:4: run.zzz: no such key; keys here: name, seed, steps, checkpoint_every, "
         "keep_checkpoints, evaluate_every, evaluate_batches, device, threads, reduce, strict"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_was_expected(tmp_path: Path, line: str, said: str) -> None:
    assert refusal(tmp_path, GOOD.replace("steps = 10", line)) == [said]


def test_missing_tables_are_named_with_what_they_need(tmp_path: Path) -> None:
    assert refusal(tmp_path, "[run]\nsteps = 3\n") == [
        "m.toml: model: missing; expected a table [model] with use",
        "m.toml: data: missing; expected a table [data] with use",
        "m.toml: optimizer: missing; expected a table [optimizer] with use",
    ]


def test_a_rule_without_a_role_is_refused(tmp_path: Path) -> None:
    said = [
        "m.toml:11: recipe[0]: a rule needs at least one of weight, activation, gradient, "
        "weight_for_input_gradient, activation_for_weight_gradient, gradient_for_weight_gradient, query, key, probability, value, score_gradient, output_gradient, moment, second_moment"
    ]
    assert refusal(tmp_path, GOOD + '[[recipe]]\nlayers = "*"\n') == said


def test_a_constant_schedule_stays_after_its_warm_up() -> None:
    factors = [Schedule(kind="constant", warmup=2).factor(step, 5) for step in range(1, 6)]
    assert factors == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_a_linear_schedule_ends_at_its_final_factor() -> None:
    factors = [Schedule(kind="linear", final=0.2).factor(step, 5) for step in range(1, 6)]
    assert factors == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_a_cosine_schedule_is_half_way_down_in_the_middle() -> None:
    schedule = Schedule(kind="cosine", warmup=4, final=0.0)
    assert [schedule.factor(step, 9) for step in (4, 5, 7, 9)] == pytest.approx([1.0, 1.0, 0.5, 0.0])
    assert schedule.factor(6, 9) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)

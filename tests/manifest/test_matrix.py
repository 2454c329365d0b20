"""`[matrix]`: axes, variants, inclusions and exclusions become manifests of single runs; what cannot be is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from altgrad_core import ManifestError
from altgrad_core.manifest.explain import validated
from altgrad_core.manifest.load import load_manifest
from altgrad_core.manifest.matrix import Point, points
from altgrad_core.manifest.schema import MatrixTable

BASE = """
[run]
steps = 3
[model]
use = "nanogpt"
[data]
use = "synthetic"
batch_size = 4
[optimizer]
use = "adamw"
lr = 0.1
beta1 = 0.5
clip_norm = 1.0
schedule = { kind = "cosine" }
[[recipe]]
layers = "a"
weight = { format = "e4m3" }
"""


def made(folder: Path, matrix: str, *settings: str, most: int = 100) -> list[Point]:
    path = folder / "m.toml"
    path.write_text(BASE + matrix)
    source = load_manifest(path, settings)
    return points(source, validated(MatrixTable, source.data["matrix"], source, ("matrix",)), most=most)


def labels(found: list[Point]) -> list[dict[str, Any]]:
    return [dict(point.labels) for point in found]


def refusal(folder: Path, matrix: str, *settings: str, most: int = 100) -> str:
    with pytest.raises(ManifestError) as caught:
        for point in made(folder, matrix, *settings, most=most):
            _ = point.source
    return str(caught.value).replace(str(folder / "m.toml"), "m.toml")


def test_every_combination_is_a_point_in_the_order_written(tmp_path: Path) -> None:
    found = made(tmp_path, '[matrix]\n"recipe[0].weight.format" = ["e5m2", "e3m4"]\n"run.seed" = [1, 2]\n')
    assert labels(found) == [
        {"recipe[0].weight.format": format, "run.seed": seed} for format in ("e5m2", "e3m4") for seed in (1, 2)
    ]
    assert found[3].source.data["recipe"] == [{"layers": "a", "weight": {"format": "e3m4"}}]
    assert found[3].source.data["run"] == {"steps": 3, "seed": 2}
    assert "matrix" not in found[3].source.data


def test_keys_without_quotes_and_with_dots_for_brackets_are_the_same_axes(tmp_path: Path) -> None:
    quoted = made(tmp_path, '[matrix]\n"recipe[0].weight.format" = ["e5m2"]\n"run.seed" = [1, 2]\n')
    unquoted = made(tmp_path, "[matrix]\nrecipe.0.weight.format = ['e5m2']\nrun.seed = [1, 2]\n")
    assert labels(quoted) == labels(unquoted)
    assert [point.source.data for point in quoted] == [point.source.data for point in unquoted]


def test_a_table_of_another_plugin_leaves_the_keys_that_are_not_its_own(tmp_path: Path) -> None:
    text = "[matrix]\noptimizer = [{ lr = 0.2 }, { use = 'sgd', momentum = 0.3 }]\n'optimizer.clip_norm' = [2.0]\n"
    first, second = made(tmp_path, text)
    assert first.source.data["optimizer"] == {
        "use": "adamw",
        "lr": 0.2,
        "beta1": 0.5,
        "clip_norm": 2.0,
        "schedule": {"kind": "cosine"},
    }
    assert second.source.data["optimizer"] == {
        "use": "sgd",
        "momentum": 0.3,
        "clip_norm": 2.0,
        "schedule": {"kind": "cosine"},
    }


def test_tables_are_called_by_their_plugin_and_by_what_tells_them_apart(tmp_path: Path) -> None:
    text = "[matrix]\noptimizer = [{ use = 'sgd' }, { use = 'adamw', lr = 1.0 }, { use = 'adamw', lr = 2.0 }]\n"
    assert [p.labels["optimizer"] for p in made(tmp_path, text)] == ["sgd", "adamw lr=1.0", "adamw lr=2.0"]


def test_a_variant_sets_several_keys_under_one_name(tmp_path: Path) -> None:
    text = (
        "[matrix.variant.plain]\nrecipe = []\n[matrix.variant.wide]\n'recipe[0].weight.format' = 'e5m2'\nrun.seed = 9\n"
    )
    plain, wide = made(tmp_path, text)
    assert (plain.labels, plain.source.data["recipe"]) == ({"variant": "plain"}, [])
    assert wide.source.data["recipe"][0]["weight"] == {"format": "e5m2"}
    assert wide.source.data["run"] == {"steps": 3, "seed": 9}


def test_zipped_axes_advance_together(tmp_path: Path) -> None:
    text = "[matrix]\n'run.seed' = [1, 2]\n'optimizer.lr' = [0.1, 0.2]\n'data.batch_size' = [8, 9]\nzip = [['run.seed', 'optimizer.lr']]\n"
    found = [
        (d["run"]["seed"], d["optimizer"]["lr"], d["data"]["batch_size"])
        for d in (p.source.data for p in made(tmp_path, text))
    ]
    assert found == [(1, 0.1, 8), (1, 0.1, 9), (2, 0.2, 8), (2, 0.2, 9)]


def test_exclusions_match_labels_and_keys_and_any_of_a_list(tmp_path: Path) -> None:
    text = "[matrix]\n'run.seed' = [1, 2, 3]\noptimizer = [{ use = 'adamw' }, { use = 'sgd' }]\n"
    text += "[[matrix.exclude]]\n'optimizer.use' = 'sgd'\n'run.seed' = [1, 3]\n"
    assert [tuple(p.labels.values()) for p in made(tmp_path, text)] == [
        (1, "adamw"),
        (2, "adamw"),
        (2, "sgd"),
        (3, "adamw"),
    ]


def test_an_inclusion_is_a_small_matrix_of_its_own(tmp_path: Path) -> None:
    text = "[matrix]\n'optimizer.lr' = [0.5]\n[[matrix.include]]\nrecipe = [[]]\n'run.seed' = [1, 2]\n"
    assert labels(made(tmp_path, text)) == [
        {"optimizer.lr": 0.5},
        {"recipe": "none", "run.seed": 1},
        {"recipe": "none", "run.seed": 2},
    ]


def test_a_point_says_which_value_of_the_matrix_a_key_is_from(tmp_path: Path) -> None:
    (point,) = made(tmp_path, "[matrix]\n'optimizer.lr' = [0.5]\n")
    assert point.source.where(("optimizer", "lr")) == f"{tmp_path / 'm.toml'}:19 (matrix.optimizer.lr[0])"


def test_the_command_line_replaces_an_axis(tmp_path: Path) -> None:
    found = made(tmp_path, "[matrix]\n'run.seed' = [1, 2]\n", "matrix.run.seed=[7]")
    assert labels(found) == [{"run.seed": 7}]


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (
            "[matrix]\n'run.seed' = []\n",
            "m.toml:19: matrix.run.seed: an empty axis makes no cells; give it values, or remove it",
        ),
        ("[matrix]\n'run.seed' = 3\n", "m.toml:19: matrix.run.seed: expected a list of values, such as [3]"),
        (
            "[matrix]\n'optimizr.lr' = [1]\n",
            'm.toml:19: matrix.optimizr.lr: not a key of a manifest; did you mean "optimizer"?',
        ),
        (
            "[matrix]\nzzz = [1]\n",
            "m.toml:19: matrix.zzz: not a key of a manifest; a key begins with one of "
            "data, evaluate, intervention, model, monitor, optimizer, recipe, run, tracker",
        ),
        (
            "[matrix]\n'recipe[3].weight.format' = ['e5m2']\n",
            "m.toml:19: matrix.recipe[3].weight.format[0]: the manifest has no recipe[3]",
        ),
        (
            "[matrix]\n'run.seed' = [1]\nzip = [['run.seed', 'run.steps']]\n",
            'm.toml:20: matrix.zip[0]: "run.steps" is not an axis (or is in two zips); axes: run.seed',
        ),
        (
            "[matrix]\n'run.seed' = [1]\n'run.steps' = [1, 2]\nzip = [['run.seed', 'run.steps']]\n",
            "m.toml:21: matrix.zip[0]: these axes advance together and need equally many values; "
            "run.seed has 1, run.steps has 2",
        ),
        (
            "[matrix]\n'run.seed' = [1]\n[[matrix.exclude]]\n'run.seed' = 2\n",
            'm.toml:20: matrix.exclude[0]: excludes nothing: no cell has {"run.seed": 2}',
        ),
        (
            "[matrix]\n'run.seed' = [1]\n[[matrix.include]]\n",
            "m.toml:20: matrix.include[0]: sets nothing; give it axes, or remove it",
        ),
        (
            "[matrix]\ncheckpoints = 'some'\n",
            """m.toml:19: matrix.checkpoints: expected 'last', 'all' or 'none', got "some\"""",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, matrix: str, said: str) -> None:
    assert refusal(tmp_path, matrix) == said


def test_too_many_combinations_are_refused_before_they_are_made(tmp_path: Path) -> None:
    axis = ", ".join(str(seed) for seed in range(2000))
    text = f"[matrix]\n'run.seed' = [{axis}]\n'run.steps' = [{axis}]\n'model.n_layer' = [{axis}]\n"
    assert refusal(tmp_path, text, most=1000) == (
        "m.toml:18: matrix: makes up to 8,000,000,000 cells, more than the 1,000 allowed; "
        "allow them with --max-cells 8000000000"
    )


def test_setting_the_key_of_an_axis_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "[matrix]\n'run.seed' = [1]\n", "run.seed=5") == (
        "--set: run.seed is an axis of the matrix; set it by --set 'matrix.run.seed=[...]'"
    )

"""Reading manifests: formats, `extends`, `--set`, and every way a file can be wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import pytest

from altgrad_core import ManifestError
from altgrad_core.manifest.load import ManifestFile, load_manifest
from altgrad_core.manifest.merge import dotted

HINT = "a manifest is a TOML file with at least [run], [model], [data] and [optimizer]"


def refusal(path: Path, *settings: str) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(path, settings)
    return str(caught.value)


def written(folder: Path, text: str, name: str = "m.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_same_manifest_reads_the_same_from_toml_json_and_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    toml = load_manifest(written(tmp_path, '[run]\nsteps = 3\nname = "a"\n'))
    as_json = load_manifest(written(tmp_path, '{"run": {"steps": 3, "name": "a"}}', "m.json"))
    as_yaml = load_manifest(written(tmp_path, "run:\n  steps: 3\n  name: a\n", "m.yaml"))
    assert toml.data == as_json.data == as_yaml.data == {"run": {"steps": 3, "name": "a"}}


def test_reading_yaml_without_pyyaml_names_the_extra(tmp_path: Path) -> None:
    path = written(tmp_path, "run: {}", "m.yaml")
    with mock.patch.dict(sys.modules, {"yaml": None}):
        assert refusal(path) == 'reading a YAML manifest needs PyYAML: pip install "altgrad[yaml]"'


def test_tables_merge_with_the_extended_file_and_arrays_replace(tmp_path: Path) -> None:
    written(tmp_path, "[run]\nsteps = 3\nseed = 1\n[[recipe]]\nlayers = 'a'\n[[recipe]]\nlayers = 'b'\n", "base.toml")
    path = written(tmp_path, "extends = 'base.toml'\n[run]\nsteps = 5\n[[recipe]]\nlayers = 'c'\n")
    assert load_manifest(path).data == {"run": {"steps": 5, "seed": 1}, "recipe": [{"layers": "c"}]}


def test_a_table_that_uses_another_plugin_replaces_the_inherited_options(tmp_path: Path) -> None:
    written(tmp_path, "[optimizer]\nuse = 'grid'\nlr = 6.0\nmomentum = 0.5\n", "base.toml")
    path = written(tmp_path, "extends = 'base.toml'\n[optimizer]\nuse = 'adamw'\nlr = 0.1\n")
    assert load_manifest(path).data == {"optimizer": {"use": "adamw", "lr": 0.1}}


def test_settings_are_typed_as_toml_and_fall_back_to_text(tmp_path: Path) -> None:
    path = written(tmp_path, "[run]\nsteps = 3\n[[recipe]]\nlayers = 'a'\n")
    settings = ["run.steps=7", "run.name=x1", "recipe.0.layers=b.*", "data.paths=['a', 'b']", "optimizer.lr=1e-3"]
    assert load_manifest(path, settings).data == {
        "run": {"steps": 7, "name": "x1"},
        "recipe": [{"layers": "b.*"}],
        "data": {"paths": ["a", "b"]},
        "optimizer": {"lr": 1e-3},
    }


def test_errors_point_to_the_line_of_the_file_a_key_comes_from(tmp_path: Path) -> None:
    base = written(tmp_path, "[run]\nsteps = 3\n\n[model]\nuse = 'x'\n", "base.toml")
    path = written(tmp_path, "extends = 'base.toml'\n[run]\nsteps = 5\n")
    source = load_manifest(path, ["data.use=q"])
    assert source.where(("run", "steps")) == f"{path}:3"
    assert source.where(("model", "use")) == f"{tmp_path / base.name}:5"
    assert source.where(("data", "use")) == "--set"
    assert source.where(("nowhere",)) == str(path)


def test_a_missing_manifest_lists_those_beside_it(tmp_path: Path) -> None:
    other = written(tmp_path, "x = 1")
    assert refusal(tmp_path / "n.toml") == f"{tmp_path}/n.toml: no such file; manifests there: {other}"
    assert (
        refusal(tmp_path / "a" / "n.toml") == f"{tmp_path}/a/n.toml: no such file; there is no manifest in {tmp_path}/a"
    )


def test_a_missing_extended_manifest_names_the_file_that_asks_for_it(tmp_path: Path) -> None:
    path = written(tmp_path, "extends = 'n.toml'")
    said = f"{tmp_path}/n.toml: no such file (named by `extends` in {path}); manifests there: {path}"
    assert refusal(path) == said


def test_manifests_that_extend_each_other_are_refused_with_the_circle(tmp_path: Path) -> None:
    a = written(tmp_path, "extends = 'b.toml'", "a.toml")
    b = written(tmp_path, "extends = 'a.toml'", "b.toml")
    assert refusal(a) == f"{a}: extends itself: {a} -> {b} -> {a}; remove one `extends`"


def test_extends_must_be_a_path(tmp_path: Path) -> None:
    path = written(tmp_path, "extends = 3")
    assert refusal(path) == f"{path}: extends: expected the path of a manifest, got 3"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", f"the manifest is empty; {HINT}"),
        (b" \n\t\n", f"the manifest is empty; {HINT}"),
        (b"# nothing but a comment\n", f"the manifest is empty; {HINT}"),
        (b"\x93NUMPY\x01", f"not a text file (byte 0 is not UTF-8); {HINT}"),
        (b"a = 1\0", f"not a text file (it holds a zero byte); {HINT}"),
        (b"a = ", "not readable as TOML: Invalid value (at end of document)"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m.toml"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: {said}"


def test_a_directory_is_no_manifest(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: is a directory, expected a manifest file"


def test_json_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "[1]", "m.json")
    assert refusal(path) == f"{path}: expected tables, got list; {HINT}"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused_with_their_line(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"[optimizer]\nlr = {value}\n")
    assert refusal(path) == f"{path}:2: optimizer.lr: {value} is not allowed; expected a finite number"


def test_json_infinities_are_refused_too(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps({"optimizer": {"lr": float("nan")}}), "m.json")
    assert refusal(path) == f"{path}: optimizer.lr: nan is not allowed; expected a finite number"


def test_dates_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "[run]\nname = 2026-01-01\n")
    assert refusal(path) == f"{path}:2: run.name: a date (2026-01-01) is not a valid option"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("run.steps", "--set run.steps: expected KEY=VALUE, such as --set optimizer.lr=0.01"),
        ("=3", "--set =3: expected KEY=VALUE, such as --set optimizer.lr=0.01"),
        ("recipe.4.layers=a", "--set recipe.4.layers=a: the manifest has no recipe[4]"),
        ("run.steps.x=a", "--set run.steps.x=a: the manifest has no run.steps.x"),
    ],
)
def test_a_setting_that_fits_nowhere_is_refused(tmp_path: Path, setting: str, said: str) -> None:
    path = written(tmp_path, "[run]\nsteps = 3\n[[recipe]]\nlayers = 'a'\n")
    assert refusal(path, setting) == said


def test_locations_are_written_as_users_write_them() -> None:
    assert dotted(("recipe", 2, "weight", "format")) == "recipe[2].weight.format"


def test_where_takes_the_longest_known_part_of_a_location() -> None:
    lines = {("a",): 1, ("a", "b"): 2}
    source = ManifestFile(Path("m.toml"), "", {}, ((Path("m.toml"), lines),))
    assert source.where(("a", "b", "c")) == "m.toml:2"


def test_null_is_no_value(tmp_path: Path) -> None:
    path = written(tmp_path, '{"run": {"seed": null}}', "m.json")
    assert refusal(path) == f"{path}: run.seed: null is not a value; leave the key out"


def test_a_yaml_that_holds_itself_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = written(tmp_path, "a: &a [*a]", "m.yaml")
    assert refusal(path) == f"{path}: nested too deeply, or it holds itself"


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 'extends = "a\\u0000b"')
    assert refusal(path).endswith("is not the path of a file")


@pytest.mark.parametrize("key", ["run.\u00b2", "run." + "9" * 5000])
def test_odd_digits_are_names(tmp_path: Path, key: str) -> None:
    path = written(tmp_path, "[run]\nsteps = 3\n")
    assert load_manifest(path, [f"{key}=1"]).data["run"][key.removeprefix("run.")] == 1

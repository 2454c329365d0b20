"""`altgrad schema`: it accepts what `altgrad` accepts, and refuses typing mistakes at their key."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from altgrad_core.cli.schema import installed_schema
from altgrad_core.contracts.dataset import DatasetSpec
from altgrad_core.manifest.json_schema import manifest_schema
from altgrad_core.registry.registry import installed

ROOT = Path(__file__).parents[2]
TABLES = {"dataset": "data", "model": "model", "optimizer": "optimizer", "executor": "executor"}
REQUIRED = {  # options without a default
    "text-files": {"paths": ["a.txt"]},
    "labelled-text": {"files": ["a.parquet"], "validation_files": ["b.parquet"], "labels": 3},
    "clip-layers": {"max_norm": 1},
    "clip-partition": {"format": "e5m2"},
    "replay": {"records": "records.jsonl"},
    "rule": {"reading": "loss", "above": 1},
    "widen-stalled": {"to": "e3m4"},
}
SPECS = [entry for entry in installed() if entry.kind not in ("format", "layer")]
MINIMAL = {
    "run": {"steps": 1},
    "model": {"use": "nanogpt"},
    "data": {"use": "synthetic"},
    "optimizer": {"use": "adamw"},
}
LR_OF_SGD = {"layers": "*", "use": "sgd", "lr": 1}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = installed_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(validator: Draft202012Validator, manifest: Any) -> list[tuple[str, str]]:
    found = validator.iter_errors(json.loads(json.dumps(manifest)))
    return sorted({(".".join(map(str, error.absolute_path)), error.message) for error in found})


def changed(**tables: Any) -> dict[str, Any]:
    return {**copy.deepcopy(MINIMAL), **tables}


EXAMPLES = [path for path in sorted(ROOT.glob("examples/**/*.toml")) if path.name != "pyproject.toml"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(validator: Draft202012Validator, path: Path) -> None:
    manifest = tomllib.loads(path.read_text())
    unknown = [told for told in problems(validator, manifest) if not (path.name == "lns8.toml" and "lns8" in told[1])]
    assert unknown == []  # lns8 is the format of a plugin that is not installed here


def test_the_resolved_manifest_of_a_run_is_valid(
    validator: Draft202012Validator, altgrad: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    groups = "optimizer.group=[{layers='lm_head', use='torch.optim:NAdam', lr=0.01}, {layers='wte', use='sgd'}]"
    assert altgrad("run", tiny, "--steps", 1, "--out", tmp_path / "run", "--set", groups).code == 0
    resolved = tomllib.loads((tmp_path / "run" / "resolved.toml").read_text())
    assert len(resolved["optimizer"]["group"]) == 2
    assert problems(validator, resolved) == []


@pytest.mark.parametrize("entry", SPECS, ids=[f"{entry.kind}-{entry.name}" for entry in SPECS])
def test_the_defaults_of_every_plugin_are_valid_and_a_key_it_lacks_is_not(
    validator: Draft202012Validator, entry: Any
) -> None:
    given = REQUIRED.get(entry.name, {})
    fields = entry.item.model_fields.items()
    written = {key: field.get_default(call_default_factory=True) for key, field in fields if not field.is_required()}
    plain = json.loads(json.dumps(written, default=lambda v: v.model_dump() if isinstance(v, BaseModel) else str(v)))
    table = {"use": entry.name, **{key: value for key, value in plain.items() if value is not None}, **given}
    key = TABLES.get(entry.kind, entry.kind)
    for options, expected in ((table, 0), ({**table, "no_such_key": 1}, 1)):
        assert len(problems(validator, changed(**{key: options if key in TABLES.values() else [options]}))) == expected


@pytest.mark.parametrize(
    ("tables", "where", "said"),
    [
        ({"runs": {}}, "", "Additional properties are not allowed ('runs' was unexpected)"),
        ({"run": {}}, "run", "'steps' is a required property"),
        ({"run": {"steps": 0}}, "run.steps", "0 is less than or equal to the minimum of 0"),
        ({"model": {}}, "model", "'use' is a required property"),
        ({"optimizer": {"use": "adamw", "lrr": 1}}, "optimizer", "Additional properties are not allowed ('lrr' was unexpected)"),
        ({"optimizer": {"use": "adamw", "lr": "a"}}, "optimizer.lr", "'a' is not of type 'number'"),
        ({"optimizer": {"use": "adamww"}}, "optimizer.use", "'adamww' is not valid under any of the given schemas"),
        ({"optimizer": {"use": "adamw", "group": [{"lr": 1}]}}, "optimizer.group.0", "'layers' is a required property"),
        ({"optimizer": {"use": "adamw", "group": [{**LR_OF_SGD, "beta1": 0.5}]}}, "optimizer.group.0",
         "Additional properties are not allowed ('beta1' was unexpected)"),
        ({"data": {"use": "text-files"}}, "data", "'paths' is a required property"),
        ({"monitor": [{"every": 1}]}, "monitor.0", "'use' is a required property"),
        ({"monitor": [{"use": "flips", "every": 0}]}, "monitor.0.every", "0 is less than or equal to the minimum of 0"),
        ({"intervention": [{"use": "widen-stalled"}]}, "intervention.0", "'to' is a required property"),
        ({"recipe": [{"layers": "*", "weight": {"format": "e4m4"}}]}, "recipe.0.weight.format",
         "'e4m4' is not valid under any of the given schemas"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_at_its_key(
    validator: Draft202012Validator, tables: dict[str, Any], where: str, said: str
) -> None:
    assert problems(validator, changed(**tables)) == [(where, said)]


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"optimizer": {"use": "adamw", "lr": 1}},  # an integer for a float
        {"optimizer": {"use": "torch.optim:NAdam", "betas": [0.9, 0.99]}},
        {"optimizer": {"use": "adamw", "group": [LR_OF_SGD, {"layers": "*", "lr": 1}]}},
        {"model": {"use": "my_models:make", "width": 8}},
        {"recipe": [{"layers": "*", "weight": {"format": {"exponent_bits": 4, "mantissa_bits": 3}}}]},
        {"matrix": {"optimizer": [{"use": "adamw", "lr": 0.002}], "run.seed": [1, 2]}},
    ],
    ids=str,
)
def test_what_altgrad_accepts_is_valid(validator: Draft202012Validator, tables: dict[str, Any]) -> None:
    assert problems(validator, changed(**tables)) == []


def test_a_manifest_that_extends_another_may_leave_out_what_that_one_has(validator: Draft202012Validator) -> None:
    part = {"run": {"seed": 2}, "optimizer": {"lr": 0.1}}
    assert problems(validator, {"extends": "base.toml", **part}) == []
    assert ("", "'model' is a required property") in problems(validator, part)


def test_options_are_described_by_the_docstrings_of_their_classes() -> None:
    defs = installed_schema()["$defs"]
    assert defs["data.huggingface"]["properties"]["text_column"]["description"] == "the column that has the text."
    inherited = defs["monitor.flips"]["properties"]["every"]["description"]
    assert inherited == "steps from one report to the next, counted from step 0."


def test_options_of_a_type_without_a_schema_are_left_unchecked() -> None:
    class Shape:
        """No plain data."""

    class Strange(DatasetSpec):
        """Of a type that JSON does not know."""

        name = "strange"
        shape: Shape | None = None

    plugins = {kind: {} for kind in ("model", "optimizer", "monitor", "intervention", "tracker", "executor")}
    schema = manifest_schema({**plugins, "dataset": {"strange": Strange}}, ["e4m3"])
    found = problems(
        Draft202012Validator(schema), changed(data={"use": "strange"}, model={"use": "a:b"}, optimizer={"use": "a:b"})
    )
    assert found == []


def test_it_is_printed_or_written(altgrad: Callable[..., Any], tmp_path: Path) -> None:
    printed = altgrad("schema")
    assert (printed.code, json.loads(printed.out)) == (0, installed_schema())
    written = altgrad("schema", "--out", tmp_path / "s.json")
    assert (tmp_path / "s.json").read_text() == printed.out
    assert written.out == (
        f"{tmp_path}/s.json: JSON Schema of manifests; name it in the first line of one:\n\n#:schema ./s.json\n"
    )

"""`weight = "e4m3"` stands for `weight = { format = "e4m3" }`, wherever it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.manifest.load import load_manifest

LONG = 'weight = { format = "e4m3" }'


@pytest.fixture
def short(tiny: Path) -> Path:
    tiny.write_text(tiny.read_text().replace(LONG, 'weight = "e4m3"'))
    return tiny


def test_it_is_read_as_the_table(short: Path) -> None:
    assert load_manifest(short).data["recipe"][0]["weight"] == {"format": "e4m3"}


@pytest.mark.parametrize(
    ("setting", "weight"),
    [
        ("recipe[0].weight.rounding=stochastic", {"format": "e4m3", "rounding": "stochastic"}),
        ("recipe[0].weight=e5m2", {"format": "e5m2"}),
    ],
)
def test_settings_change_it(short: Path, setting: str, weight: dict[str, str]) -> None:
    assert load_manifest(short, [setting]).data["recipe"][0]["weight"] == weight


def test_a_matrix_may_vary_its_format(short: Path, altgrad: Callable[..., Any]) -> None:
    short.write_text(short.read_text() + '\n[matrix]\n"recipe[0].weight.format" = ["e4m3", "e5m2"]\n')
    cells = json.loads(altgrad("run", short, "--dry-run", "--json").out)["cells"]
    assert [cell["manifest"]["recipe"][0]["weight"]["format"] for cell in cells] == ["e4m3", "e5m2"]


def test_an_unknown_name_is_told_with_its_place(short: Path, altgrad: Callable[..., Any]) -> None:
    short.write_text(short.read_text().replace('weight = "e4m3"', 'weight = "e4m4"'))
    said = altgrad("check", short)
    assert said.code == 2
    assert f"{short}:" in said.err and 'no format "e4m4"; did you mean "e4m3"?' in said.err


def test_the_schema_knows_it(altgrad: Callable[..., Any]) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads(altgrad("schema").out)
    rule = {"$defs": schema["$defs"], "$ref": "#/$defs/RecipeTable"}
    assert Draft202012Validator(rule).is_valid({"layers": "*", "weight": "e4m3"})
    assert Draft202012Validator(rule).is_valid({"layers": "*", "weight": {"format": "e4m3"}})
    assert not Draft202012Validator(rule).is_valid({"layers": "*", "weight": "e4m4"})

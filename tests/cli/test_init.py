"""`altgrad init`: a manifest that can be checked and run as it is."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

SMALL = [part for key in ("n_embd", "n_head", "block_size") for part in ("--set", f"model.{key}=8")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_manifest_is_checked_and_run_as_it_says(altgrad: Callable[..., Any], here: Path) -> None:
    made = altgrad("init")
    assert made.out == (
        "altgrad.toml: a manifest to start with\naltgrad.schema.json: for editors\n"
        "to train it: altgrad run altgrad.toml\n"
    )
    assert altgrad("check", "altgrad.toml").code == 0
    assert altgrad("run", "altgrad.toml", "--steps", 2, "--set", "run.evaluate_batches=1", *SMALL).code == 0
    assert (here / "runs" / "altgrad" / "summary.json").exists()


def test_it_names_its_schema_and_is_valid_by_it(altgrad: Callable[..., Any], here: Path) -> None:
    altgrad("init", "mine.toml")
    text = Path("mine.toml").read_text()
    assert text.splitlines()[0] == "#:schema ./altgrad.schema.json"
    schema = json.loads(Path("altgrad.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(tomllib.loads(text))) == []


def test_it_has_the_guards_that_stop_a_run_that_goes_wrong_and_says_how_to_run(
    altgrad: Callable[..., Any], here: Path
) -> None:
    altgrad("init", "my study.toml")
    text = Path("my study.toml").read_text()
    guards = [table["use"] for table in tomllib.loads(text)["intervention"]]
    assert guards == ["stop-on-nonfinite", "stop-on-divergence"]
    assert "#   altgrad run 'my study.toml'   " in text
    assert "{path}" not in text


@pytest.mark.parametrize("key", ["intervention", "tracker", "matrix"])
def test_what_is_commented_out_can_be_used(altgrad: Callable[..., Any], here: Path, key: str) -> None:
    altgrad("init")
    lines = Path("altgrad.toml").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith((f"# [[{key}]]", f"# [{key}]")))
    block = lines[first : lines.index("", first)] if "" in lines[first:] else lines[first:]
    opened = [line.removeprefix("# ") for line in block]
    Path("altgrad.toml").write_text("\n".join([*lines, "", *opened]))
    assert altgrad("check", "altgrad.toml", *SMALL).code == 0


def test_a_file_that_is_there_is_left_alone_unless_forced(altgrad: Callable[..., Any], here: Path) -> None:
    Path("altgrad.toml").write_text("mine")
    refused = altgrad("init")
    assert (refused.code, refused.err) == (
        2,
        "altgrad: altgrad.toml: exists; --force replaces it, and altgrad init OTHER.toml leaves it alone\n",
    )
    assert Path("altgrad.toml").read_text() == "mine"
    assert [path.name for path in here.iterdir()] == ["altgrad.toml"]
    assert altgrad("init", "--force").code == 0
    assert "[run]" in Path("altgrad.toml").read_text()


@pytest.mark.usefixtures("here")
def test_a_name_that_is_no_toml_is_refused(altgrad: Callable[..., Any]) -> None:
    refused = altgrad("init", "a.json")
    told = 'altgrad: a.json: the manifest is written as TOML; expected a name such as "a.toml"\n'
    assert (refused.code, refused.err) == (2, told)


def test_a_directory_takes_it_under_its_usual_name(altgrad: Callable[..., Any], here: Path) -> None:
    (here / "study").mkdir()
    assert altgrad("init", "study").code == 0
    assert sorted(path.name for path in (here / "study").iterdir()) == ["altgrad.schema.json", "altgrad.toml"]

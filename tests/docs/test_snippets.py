"""Every snippet of the documents is sound: Python compiles and names what exists, manifests fit the schema, commands parse."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

import altgrad_core
from altgrad_core.cli.main import app
from altgrad_core.cli.schema import installed_schema

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
]


def snippets(*languages: str) -> list[Any]:
    """The code blocks of all pages in these languages, with the page and the number of the block."""
    found = []
    for page in PAGES:
        blocks = re.findall(
            rf"^```(?:{'|'.join(languages)})\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE
        )
        found += [pytest.param(block, id=f"{page.stem}-{number}") for number, block in enumerate(blocks)]
    return found


@pytest.mark.parametrize("block", snippets("python", "py"))
def test_python_compiles_and_names_what_exists(block: str) -> None:
    tree = ast.parse(block)
    named = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ag"
    }
    assert named - set(altgrad_core.__all__) == set()


@cache
def validator() -> Any:
    schema = installed_schema()
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("block", snippets("toml"))
def test_a_manifest_fits_the_schema(block: str) -> None:
    tables = tomllib.loads(block)
    if "project" in tables:
        assert tables["project"]["entry-points"]["altgrad"]
        return
    part = {"extends": "base.toml", **tables}  # a part of a manifest: the rest is elsewhere
    assert [error.message for error in validator().iter_errors(part)] == []


def commands_of(block: str) -> Iterator[list[str]]:
    """The words of each call of `altgrad` in a block of shell, comments and continued lines taken care of."""
    for line in block.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|;|\|", line.partition("  #")[0]):
            found = re.search(r"(?:^|\s)(?:altgrad|-m altgrad_core) (.*)", part.strip().removeprefix("$ "))
            if found:
                yield shlex.split(found[1], comments=True)


SHELL = [each for each in snippets("sh", "console", "text") if list(commands_of(each.values[0]))]


@pytest.mark.parametrize("block", SHELL)
def test_commands_and_their_options_exist(block: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, *words in commands_of(block):
        command = commands[name]
        command.make_parser(typer.Context(command)).parse_args(list(words))  # raises where an option does not exist


def test_there_are_snippets_of_every_kind() -> None:
    assert len(snippets("python", "py")) > 10
    assert len(snippets("toml")) > 8
    assert len(SHELL) > 5

"""What every file looks like, and that every public name leads somewhere."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import altgrad_core

ROOT = Path(__file__).parents[2]
FILES = sorted(p for folder in ("altgrad_core", "plugins") for p in (ROOT / folder).rglob("*.py"))
TESTS = sorted(p for folder in ("tests", "benchmarks") for p in (ROOT / folder).rglob("*.py"))
HIDDEN = ("/" + "work", "shared" + "/", "design" + ".md", "semantics" + ".md")
MOST_LINES, MOST_NAMES = 300, 100  # every extension point has a contract of a few names


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def public_definitions(node: ast.AST, *, inherited: bool = False) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and the public methods of its public classes.

    A method of a class with bases may have its docstring there.
    """
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield child
            yield from public_definitions(child, inherited=bool(child.bases))
        elif not inherited:
            yield child  # type: ignore[misc]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_is_not_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_no_test_and_no_benchmark_is_longer_than_300_lines() -> None:
    assert [relative(path) for path in TESTS if len(path.read_text().splitlines()) > MOST_LINES] == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_public_name_has_a_docstring(path: Path) -> None:
    missing = [d.name for d in public_definitions(ast.parse(path.read_text())) if not ast.get_docstring(d)]
    assert missing == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_file_speaks_of_where_it_was_written(path: Path) -> None:
    assert [word for word in HIDDEN if word in path.read_text()] == []


def test_the_front_door_has_few_names_and_each_leads_somewhere() -> None:
    assert len(altgrad_core.__all__) <= MOST_NAMES
    assert [name for name in altgrad_core.__all__ if not hasattr(altgrad_core, name)] == []
    assert sorted(altgrad_core.__all__) == sorted(set(altgrad_core.__all__))


def test_the_front_door_says_what_it_does_not_have() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        altgrad_core.no_such_name  # type: ignore[attr-defined] # noqa: B018


def test_every_name_of_the_front_door_is_documented() -> None:
    silent = []
    for name in altgrad_core.__all__:
        value = getattr(altgrad_core, name)
        if isinstance(value, type) or (
            callable(value) and hasattr(value, "__module__") and "altgrad" in value.__module__
        ):
            silent += [] if value.__doc__ else [name]
    assert silent == []


def test_every_plugin_folder_is_packaged_and_has_an_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    assert set(project["project"]["entry-points"]["altgrad"].values()) == folders
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) == {"altgrad_core", *(f"plugins/{name}" for name in folders)}

"""What every file looks like, and that every public name exists."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import lru_cache
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


@lru_cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


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


def test_every_file_says_what_it_is_for() -> None:
    assert [relative(path) for path in FILES if not ast.get_docstring(tree(path))] == []


def test_no_file_is_longer_than_300_lines() -> None:
    assert [relative(path) for path in (*FILES, *TESTS) if len(path.read_text().splitlines()) > MOST_LINES] == []


def test_every_public_name_has_a_docstring() -> None:
    missing = {
        relative(path): [d.name for d in public_definitions(tree(path)) if not ast.get_docstring(d)] for path in FILES
    }
    assert {path: names for path, names in missing.items() if names} == {}


def test_no_file_speaks_of_where_it_was_written() -> None:
    assert [relative(path) for path in FILES if any(word in path.read_text() for word in HIDDEN)] == []


def test_there_are_few_public_names_and_each_exists() -> None:
    assert len(altgrad_core.__all__) <= MOST_NAMES
    assert [name for name in altgrad_core.__all__ if not hasattr(altgrad_core, name)] == []
    assert sorted(altgrad_core.__all__) == sorted(set(altgrad_core.__all__))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        altgrad_core.no_such_name  # type: ignore[attr-defined] # noqa: B018


def test_every_public_name_of_the_package_is_documented() -> None:
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

"""The tables of docs/any-model.md name tests that there are, and the versions that are installed."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "any-model.md").read_text()
TEST = re.compile(r"`((?:\w+/)+test_\w+\.py)::(test_\w+)`")


def rows() -> list[str]:
    """The rows of the tables whose last column is headed `test`."""
    found, is_told = [], False
    for line in TEXT.splitlines():
        if not line.startswith("|"):
            is_told = False
        elif line.endswith("| test |"):
            is_told = True
        elif is_told and not line.startswith("|--"):
            found.append(line)
    return found


@cache
def functions(path: str) -> set[str]:
    file = ROOT / "tests" / path
    if not file.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_row_names_tests_that_exist() -> None:
    named = {row: TEST.findall(row.rsplit("|", 2)[1]) for row in rows()}
    assert len(named) > 30
    assert [row for row, tests in named.items() if not tests] == []
    assert [test for tests in named.values() for test in tests if test[1] not in functions(test[0])] == []


def test_the_versions_are_those_that_are_tested() -> None:
    told = dict(re.findall(r"(\w+) (\d+\.\d+)", TEXT.partition("\n## ")[0]))
    assert told.keys() >= {"torch", "transformers", "accelerate", "lightning", "peft"}
    assert told == {name: ".".join(version(name).split(".")[:2]) for name in told}

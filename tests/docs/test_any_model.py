"""The tables of docs/any-model.md are those that docs/site/any_model.py writes, and name tests that there are."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))
import any_model as tables  # noqa: E402


@cache
def functions(path: str) -> set[str]:
    file = ROOT / path
    if not file.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_row_names_tests_that_exist() -> None:
    assert len(tables.rows()) > 30 and {row["table"] for row in tables.rows()} == tables.HEADS.keys()
    assert [row["what"] for row in tables.rows() if not row["tests"]] == []
    named = [test.split("::") for test in tables.tests()]
    assert [(path, name) for path, name in named if name not in functions(path)] == []


def test_the_page_is_what_its_rows_and_the_installed_versions_make() -> None:
    text = tables.PAGE.read_text()
    assert tables.page(text) == text
    assert tables.page(text.replace("`inference_mode`", "`other`", 1).replace("torch 2.", "torch 1.", 1)) == text

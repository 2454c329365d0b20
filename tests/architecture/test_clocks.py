"""No test fails because a machine is slow: `tests/patience.py` alone says that something took too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}


def is_read(node: ast.expr) -> bool:
    """Whether a clock is read in an expression."""
    return any(isinstance(part, ast.Attribute | ast.Name) and getattr(part, "attr", getattr(part, "id", "")) in CLOCKS for part in ast.walk(node))  # fmt: skip


def limits(text: str) -> Iterator[int]:
    """The lines on which the source of a test asserts that a clock has not passed something."""
    for statement in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)):
        for comparison in (node for node in ast.walk(statement) if isinstance(node, ast.Compare)):
            sides = [comparison.left, *comparison.comparators]
            for left, operator, right in zip(sides, comparison.ops, sides[1:], strict=False):
                less = left if isinstance(operator, ast.Lt | ast.LtE) else right
                if is_read(less) and not isinstance(operator, ast.Eq | ast.NotEq):
                    yield statement.lineno


@pytest.mark.parametrize(
    ("text", "is_limit"),
    [
        ("assert time.monotonic() - began < 2", True),
        ("assert (process_time() - spent <= 2 and ok), case", True),
        ("assert 0.5 <= time.perf_counter() - began < 5", True),
        ("assert 5 > time.monotonic() - began", True),
        ("assert time.monotonic() - began >= 0.5", False),
        ("assert 0.5 <= time.monotonic() - began", False),
        ("while time.monotonic() < until: pass", False),
    ],
)
def test_a_limit_is_found(text: str, is_limit: bool) -> None:
    assert bool(list(limits(text))) == is_limit


def test_no_test_has_a_limit_of_its_own() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != TESTS / "patience.py"
        for line in limits(path.read_text())
    ]
    assert found == []

"""Built-ins have no privileges: the core names no plugin's offer, and a stranger's reading is shown like any other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from altgrad_core.contracts.intervention import RUN_READINGS
from altgrad_core.registry.registry import installed

ROOT = Path(__file__).parents[2]
FILES = sorted(p for p in (ROOT / "altgrad_core").rglob("*.py") if "testing" not in p.parts)
ORDINARY = {"updates", "grid", "rule", "text", "compare", "stop"}  # names that are English words of the core too
READINGS = {
    reading.name for entry in installed() if entry.kind == "monitor" for reading in entry.item.declared()
} - set(RUN_READINGS)
OFFERS = {entry.name for entry in installed() if entry.kind in ("monitor", "intervention", "optimizer", "model")}


OPTIONS = {
    option
    for entry in installed()
    if entry.kind == "optimizer"
    for option in (entry.item.plain_rate, *entry.item.controls)
    if option is not None
}


def literals(path: Path) -> set[str]:
    """Every string of a file that is not a docstring, and the quoted names in docstrings' place."""
    tree = ast.parse(path.read_text())
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return {node.value for node in strings if id(node) not in documents}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_names_no_reading_no_offer_and_no_declared_option_of_a_plugin(path: Path) -> None:
    assert sorted(literals(path) & (READINGS | OFFERS | OPTIONS) - ORDINARY) == []


def test_there_are_names_to_look_for() -> None:
    assert {"stall-ratio", "weight-nan-count", "stable-rank"} <= READINGS
    assert {"flips", "adamw", "nanogpt"} <= OFFERS
    assert {"plain_lr", "precondition"} <= OPTIONS

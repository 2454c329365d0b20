"""The tables of docs/any-model.md name tests that there are."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = ("torch", "transformers", "accelerate", "lightning", "peft")
TEXT = (ROOT / "docs" / "any-model.md").read_text()


def test_every_row_names_tests_that_exist() -> None:
    rows = [
        line
        for line in TEXT.splitlines()
        if line.startswith("| ") and not line.startswith(("| layer |", "| situation |"))
    ]
    named = [
        re.findall(r"`((?:running|laws|plugins|integrations)/test_\w+\.py)`", row.rsplit("|", 2)[1]) for row in rows
    ]
    assert len(rows) > 20 and all(named)
    assert [path for paths in named for path in paths if not (ROOT / "tests" / path).is_file()] == []


def test_the_versions_are_those_that_are_tested() -> None:
    told = dict(re.findall(r"(torch|transformers|accelerate|lightning|peft) (\d+\.\d+)", TEXT.partition("\n## ")[0]))
    assert told == {name: ".".join(version(name).split(".")[:2]) for name in NAMES}

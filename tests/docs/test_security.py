"""SECURITY.md names, for everything that it says of data, a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/[\w/.]+)::(\w+)`", (ROOT / "SECURITY.md").read_text())


def test_every_test_that_is_named_is_there() -> None:
    missing = [f"{file}::{name}" for file, name in NAMED if f"def {name}(" not in (ROOT / file).read_text()]
    assert (missing, len(NAMED)) == ([], 20)


def test_it_says_which_versions_are_supported_and_how_to_report() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    for heading in ("Supported versions", "How to report", "What is trusted", "What is not trusted"):
        section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert len(section.split()) > 10, heading


def test_every_row_of_data_from_others_names_one() -> None:
    table = (ROOT / "SECURITY.md").read_text().partition("| from others |")[2].splitlines()[2:]
    rows = [row for row in table if row.startswith("|")]
    assert len(rows) == len(NAMED)

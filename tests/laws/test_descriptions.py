"""Every key of a manifest and every option of every plugin says what it means, in the schema, the reference and `show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from altgrad_core.cli.schema import installed_schema

SCHEMA = installed_schema()
TABLES = {"the manifest": {"properties": SCHEMA["properties"]}, **SCHEMA["$defs"]}


def undescribed(table: Mapping[str, Any]) -> Iterator[str]:
    """The keys of a table of which nothing is said; `use` names a plugin, whose words are its own."""
    for key, told in table.get("properties", {}).items():
        if key != "use" and not str(told.get("description", "")).strip():
            yield key


@pytest.mark.parametrize("name", TABLES)
def test_every_key_and_option_is_described(name: str) -> None:
    assert list(undescribed(TABLES[name])) == []


def test_an_option_without_a_word_is_found() -> None:
    table = {"properties": {"use": {"const": "sgd"}, "lr": {"type": "number"}, "decay": {"description": "of the mean"}}}
    assert list(undescribed(table)) == ["lr"]

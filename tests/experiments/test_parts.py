"""Files read in parts are what they are when they are read at once."""

from __future__ import annotations

import tomllib

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from altgrad_core.experiments.study.parts import Parts
from tests.conftest import TINY

LINES = [
    "[a]",
    "[a.b]",
    "[[c]]",
    '["a"]',
    "[d]",
    "x = 1",
    "y = [",
    "[1, 2],",
    "]",
    '"""',
    's = """',
    "z = {q = 1}",
    "# [e]",
    "# \u2028[e]",
    "",
    "[",
]


def outcome(read: object, text: str) -> object:
    try:
        return read(text)  # type: ignore[operator]
    except ValueError:
        return ValueError


@given(st.lists(st.lists(st.sampled_from(LINES), max_size=8), min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_any_lines_give_what_they_give_at_once(texts: list[list[str]], end: str) -> None:
    parts = Parts()
    for lines in [*texts, *texts]:
        text = end.join(lines)
        assert outcome(parts.toml, text) == outcome(tomllib.loads, text)


def test_what_two_manifests_share_is_kept_once() -> None:
    parts, other = Parts(), tomlkit.parse(TINY)
    other["run"]["seed"] = 4  # type: ignore[index]
    one, two = parts.toml(TINY), parts.toml(tomlkit.dumps(other))
    assert one == tomllib.loads(TINY) and two["run"]["seed"] == 4
    assert one["model"] is two["model"] and one["recipe"] is two["recipe"]


def test_json_is_shared_and_damage_is_still_an_error() -> None:
    parts = Parts()
    assert parts.json(b'{"a": [1]}') is parts.json(b'{"a": [1]}')
    with pytest.raises(ValueError, match="Expecting"):
        parts.json(b'{"a"')

"""Text of strangers: what reaches a terminal, and what can be the name of a directory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altgrad_core.text import printable, unusable_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("bell\x07 c1\x9b", "bell\\x07 c1\\x9b"),
        ("one\r\x08two", "one\\r\\x08two"),
        ("turned\u202e", "turned\\u202e"),
        ("half\ud800", "half\\ud800"),
        ("Größe, 大\n\tand so on", "Größe, 大\n\tand so on"),
    ],
)
def test_what_could_steer_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_but_line_ends_and_tabs_is_left_that_cannot_be_printed(text: str) -> None:
    assert printable(text).replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("latest", '"latest" is the name of the link to the newest run'),
        (".", "'.' is not a valid name of a directory"),
        ("..", "'..' is not a valid name of a directory"),
        ("", "'' is not a valid name of a directory"),
        ("/tmp", "'/tmp' is not a valid name of a directory"),
        ("a\nb", "'a\\nb' is not a valid name of a directory"),
        ("ä" * 101, "it has more than 200 bytes"),
        ("ä" * 100, None),
        ("my run", None),
    ],
)
def test_a_name_that_no_directory_should_have_is_refused(name: str, problem: str | None) -> None:
    assert unusable_name(name) == problem

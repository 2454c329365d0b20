"""Finding the line of every key."""

from __future__ import annotations

from altgrad_core.manifest.lines import key_lines, line_of

TEXT = """\
title = 1
[run]
steps = 3   # a comment = no key

[[recipe]]
layers = "a"
weight = { format = "e4m3" }
[recipe.activation]
format = "x"
[[recipe]]
"quoted.key" = 1
a.b = 2
"""


def test_every_key_and_header_has_its_line() -> None:
    assert key_lines(TEXT) == {
        ("title",): 1,
        ("run",): 2,
        ("run", "steps"): 3,
        ("recipe",): 5,
        ("recipe", 0): 5,
        ("recipe", 0, "layers"): 6,
        ("recipe", 0, "weight"): 7,
        ("recipe", 0, "activation"): 8,
        ("recipe", 0, "activation", "format"): 9,
        ("recipe", 1): 10,
        ("recipe", 1, "quoted.key"): 11,
        ("recipe", 1, "a"): 12,
        ("recipe", 1, "a", "b"): 12,
    }


def test_a_key_inside_an_inline_table_has_the_line_of_the_table() -> None:
    assert line_of(("recipe", 0, "weight", "format"), key_lines(TEXT)) == 7


def test_a_table_without_a_header_has_the_line_of_the_first_one_inside_and_its_own_comes_first() -> None:
    assert line_of(("matrix",), key_lines("[run]\n[matrix.confirms]\n")) == 2
    assert line_of(("matrix",), key_lines("[matrix.confirms]\n[matrix]\n")) == 2


def test_an_unknown_key_has_no_line() -> None:
    assert line_of(("nothing",), key_lines(TEXT)) is None

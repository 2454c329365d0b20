"""The markdown twin: nothing in a name is markup, and every table has its columns."""

from __future__ import annotations

import re

import pytest

from altgrad_core.experiments.report.blocks import (
    Gallery,
    Page,
    Panel,
    Section,
    Text,
    TextTable,
    file_name,
    shown,
    table_of,
)
from altgrad_core.experiments.report.markdown import as_markdown, inline


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c_proj", r"c\_proj"),
        ("a|b", r"a\|b"),
        ("`rm`", r"\`rm\`"),
        ("<script>", "&lt;script&gt;"),
        ("a & b", "a &amp; b"),
        ("[x](y)", r"\[x\](y)"),
        ("$x$", r"\$x\$"),
        ("\\", r"\\"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("0.01", "0.01"),
        ("-0.5", "-0.5"),
        ("two\nlines\x00", "two lines"),
    ],
)
def test_nothing_in_a_text_is_markup(text: str, expected: str) -> None:
    assert inline(text) == expected


def test_a_table_keeps_its_columns_whatever_is_in_its_cells() -> None:
    page = Page("t", "Answer.", (), "subject", (), (Section("s", "S", (TextTable(("a", "b|c"), (("x|y", "`|`"),)),)),))
    rows = [line for line in as_markdown(page).splitlines() if line.startswith("|")]
    assert rows == [r"| a | b\|c |", "| --- | --- |", r"| x\|y | \`\|\` |"]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_the_twin_says_all_that_the_page_says_in_its_order() -> None:
    blocks = (
        Text("A plain one."),
        Text("Mind this.", "caution"),
        Text("Nothing recorded.", "gap"),
        Gallery((Panel("f-01-x", "<svg/>", "what it shows"),), "How to read it."),
    )
    head = (TextTable(("a",), (("1",),)),)
    page = Page("t", "It is so", ("one seed.",), "Study x.", head, (Section("s", "Title", blocks),), (("report.md", "me"),))  # fmt: skip
    assert as_markdown(page) == (
        "# It is so\n\n| a |\n| --- |\n| 1 |\n\n**Cautions**\n\n- one seed.\n\nStudy x.\n\n## 1. Title\n\nA plain one.\n\n"
        "> Mind this.\n\nNothing recorded.\n\n![what it shows](figures/f-01-x.svg)\n\n*How to read it.*\n\n## Files\n\n"
        "- [report.md](report.md): me\n"
    )


def test_two_cautions_are_open_and_the_others_folded() -> None:
    page = Page("t", "It is so", ("a.", "b.", "c.", "d."), "", (), ())
    assert (page.open_cautions, page.folded_cautions) == (("a.", "b."), ("c.", "d."))


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    table = table_of(("a", "b", "c"), [("x", None, 0), ("y", "", None)])
    assert (table.columns, table.rows) == (("a", "c"), (("x", "0"), ("y", "\u2013")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "\u2013"),
        ("", "\u2013"),
        (3, "3"),
        (1.0, "1.0000"),
        (0.00001234, "1.234e-05"),
        (123456.0, "1.235e+05"),
        (0.0, "0"),
        (True, "yes"),
        (float("nan"), "nan"),
    ],
)
def test_values_are_shown_to_four_decimals_at_most(value: object, expected: str) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize("label", ["e4m3", "<script>", "../../etc/passwd", "", "x" * 500, "\u4f8b", "a b/c"])
def test_the_name_of_a_figure_is_safe_as_a_file_and_as_an_id(label: str) -> None:
    assert re.fullmatch(r"lines-03(-[a-z0-9-]*[a-z0-9])?", file_name("lines", 3, label))
    assert len(file_name("lines", 3, label)) <= 50

"""Tables on a terminal."""

from __future__ import annotations

from altgrad_core.experiments.report.blocks import TextTable
from altgrad_core.experiments.report.text import MOST_LETTERS, as_text


def test_of_a_long_cell_the_middle_is_left_out() -> None:
    table = TextTable(("variant", "loss"), (("model." + "x" * 700 + ".end", "1.5"), ("plain", "2.5")))
    head, long, short = as_text(table).splitlines()
    assert max(map(len, (head, long, short))) <= MOST_LETTERS + 2 + 4
    assert (long.startswith("model.x"), long.endswith("x.end  1.5"), "\N{HORIZONTAL ELLIPSIS}" in long) == (True,) * 3
    assert short.split() == ["plain", "2.5"]

"""docs/reliability.md is what the campaign wrote: its rows, its results, and tests that exist."""

from __future__ import annotations

import re

from tests.faults.campaign import PAGE, ROOT, function_of, page, read_results
from tests.faults.rows import ROWS


def test_every_test_of_a_row_is_there() -> None:
    named = [test for row in ROWS for test in (*row.suite, *row.slow)]
    missing = []
    for test in named:
        file, _, function = test.partition("::")
        if not re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE):
            missing.append(test)
    assert named and missing == []


def test_the_page_is_that_of_the_recorded_results() -> None:
    assert PAGE.read_text() == page(read_results())


def test_no_recorded_result_is_of_a_test_that_no_row_names() -> None:
    named = {f"{test} {size}" for row in ROWS for size, tests in row.by_size() for test in tests}
    assert {function_of(name) for name in read_results()} <= named

"""Causes the faults and writes the outcomes to docs/reliability.md.

    python -m tests.faults.campaign [--slow] [--missing] [WORD]

With `--slow` the large figures, without it those of the suite; with a word, only the rows that have it; with `--missing`, only the
tests that have no result yet, or failed. What is not run keeps the result of its last run, which is in results.json. Results are
kept after every test, so that a campaign may be stopped and continued.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.faults.rows import ROWS, Row

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = Path(__file__).with_name("results.json"), ROOT / "docs" / "reliability.md"
Results = dict[str, dict[str, Any]]
HEAD = """# Reliability

Every row is a fault that tests cause on purpose: with real signals, limits, damaged files and hostile directories, through the code
that users run. A try is one kill, one damaged file or one command. The last columns give the outcome of all tries and the test that
checks it. If a try fails, the number of failures is shown instead.

`python -m tests.faults.campaign` writes this page, with `--slow` for the large numbers. "Not run" means that a test has not been run.

| fault | tries in the suite | larger | what happened | test |
|---|---|---|---|---|
"""


class Counter:
    """A plugin of pytest that keeps tries and failures by test; `tried` is recorded by tests that try more than once.

    Args:
        size: `suite` or `slow`.
        missing: whether tests that have a result, and did not fail, are left out.
    """

    def __init__(self, size: str, *, missing: bool) -> None:
        self.size, self.missing = size, missing

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Forget results of tests that are no longer there, and leave out what is not asked for."""
        wanted = [item for item in items if ("slow" in item.keywords) == (self.size == "slow")]
        here = {self.name(item.nodeid) for item in wanted}
        functions = {function_of(name) for name in here}
        forget(name for name in read_results() if function_of(name) in functions and name not in here)
        done = {name for name, result in read_results().items() if self.missing and not result["failed"]}
        items[:] = [item for item in wanted if self.name(item.nodeid) not in done]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result of one test."""
        if (report.when == "call" or report.failed) and not report.skipped:
            tried = int(dict(report.user_properties).get("tried", 1))
            on = datetime.datetime.now(datetime.UTC).date().isoformat()
            keep({self.name(report.nodeid): {"tried": tried, "failed": int(report.failed), "on": on}})

    def name(self, node: str) -> str:
        """Under which the result of a test is kept."""
        return f"{node} {self.size}"


def function_of(name: str) -> str:
    """The name of a result without the parameters of the test: `FILE::FUNCTION SIZE`."""
    return name.partition("[")[0].split(" ")[0] + " " + name.rpartition(" ")[2]


def read_results() -> Results:
    """What is known from earlier runs."""
    found: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def keep(found: Results) -> None:
    """Write results.json and the page, with these results in place of earlier ones of the same tests."""
    with FileLock(RESULTS.with_suffix(".lock")):
        _write({**read_results(), **found})


def forget(names: Iterable[str]) -> None:
    """Take these results away."""
    gone = set(names)
    with FileLock(RESULTS.with_suffix(".lock")):
        _write({name: result for name, result in read_results().items() if name not in gone})


def _write(results: Results) -> None:
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    PAGE.write_text(page(results))


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/reliability.md for these results."""
    dates = sorted(result["on"] for result in results.values())
    when = f"\nThese results are from {dates[0]} to {dates[-1]}.\n" if dates else ""
    return HEAD + "".join(_line(row, results) for row in ROWS) + when


def _line(row: Row, results: Mapping[str, Mapping[str, Any]]) -> str:
    by_function: dict[str, list[Mapping[str, Any]]] = {}
    for name, result in results.items():
        by_function.setdefault(function_of(name), []).append(result)
    suite, slow = ([by_function.get(f"{test} {size}", []) for test in tests] for size, tests in row.by_size())
    known = [result for found in (*suite, *slow) for result in found]
    failed = sum(result["failed"] for result in known)
    held = "not run" if not known else f"{failed} failed" if failed else row.held
    tests = ", ".join(f"`{test}`" for test in dict.fromkeys((*row.suite, *row.slow)))
    return f"| {row.fault} | {_told(suite)} | {_told(slow)} | {held} | {tests} |\n"


def _told(results: list[list[Mapping[str, Any]]]) -> str:
    """How often the tests of one size tried it."""
    if not results:
        return "-"
    missing = " (some not run)" if any(results) and not all(results) else ""
    return f"{sum(result['tried'] for found in results for result in found):,}{missing}" if any(results) else "not run"


def main() -> int:
    """Run the rows that are asked for; the exit code of pytest."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("words", nargs="*")
    asked = parser.parse_args()
    size = "slow" if asked.slow else "suite"
    rows = [row for row in ROWS if all(word in f"{row.fault} {row.suite} {row.slow}" for word in asked.words)]
    tests = [test for row in rows for test in dict(row.by_size())[size]]
    options = ["-q", "-p", "no:xdist", "-m", "slow or not slow", f"--rootdir={ROOT}"]
    keep({})
    places = (str(ROOT / test) for test in dict.fromkeys(tests))
    return int(pytest.main([*options, *places], plugins=[Counter(size, missing=asked.missing)]))


if __name__ == "__main__":
    sys.exit(main())

"""Runs the attacks and writes what came of them to docs/reliability.md.

    python -m tests.faults.campaign [--slow] [WORD]

With `--slow` the large figures, without it those of the suite; with a word, only the rows that have it. What is not run keeps
the result of its last run, which is in results.json. Results are kept after every test, so that a campaign may be stopped.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.faults.rows import ROWS, Row

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = Path(__file__).with_name("results.json"), ROOT / "docs" / "reliability.md"
Results = dict[str, dict[str, Any]]
HEAD = """# What was tried to break it

Every row is a fault that was caused on purpose: by real signals, limits, damaged files and hostile directories, through the code
that users run. A try is one kill, one damaged file, one command. The last columns name what held in all tries and the test that
says so; where a try fails, its number stands here instead.

This page is written by `python -m tests.faults.campaign`, with `--slow` for the large figures; "not run" is what it says.

| fault | tries in the suite | larger | what happened | test |
|---|---|---|---|---|
"""


class Counter:
    """A plugin of pytest that counts tries and failures by test; `tried` is recorded by tests that try more than once."""

    def __init__(self) -> None:
        self.found: Results = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one test, and keep what is known so far."""
        if (report.when != "call" and not report.failed) or report.skipped:
            return
        size = "slow" if "slow" in report.keywords else "suite"
        here = self.found.setdefault(f"{report.nodeid.partition('[')[0]} {size}", {"tried": 0, "failed": 0})
        here["tried"] += int(dict(report.user_properties).get("tried", 1))
        here["failed"] += int(report.failed)
        here["on"] = datetime.datetime.now(datetime.UTC).date().isoformat()
        keep(self.found)


def read_results() -> Results:
    """What is known from earlier runs."""
    found: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def keep(found: Results) -> None:
    """Write results.json and the page, with these results in place of earlier ones of the same tests."""
    with FileLock(RESULTS.with_suffix(".lock")):
        results = dict(sorted({**read_results(), **found}.items()))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(page(results))


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/reliability.md for these results."""
    return HEAD + "".join(_line(row, results) for row in ROWS)


def _line(row: Row, results: Mapping[str, Mapping[str, Any]]) -> str:
    suite, slow = ([results.get(f"{test} {size}") for test in tests] for size, tests in row.by_size())
    known = [result for result in (*suite, *slow) if result is not None]
    failed = sum(result["failed"] for result in known)
    held = "not run" if not known else f"{failed} failed" if failed else row.held
    tests = ", ".join(f"`{test}`" for test in dict.fromkeys((*row.suite, *row.slow)))
    return f"| {row.fault} | {_told(suite)} | {_told(slow)} | {held} | {tests} |\n"


def _told(results: list[Mapping[str, Any] | None]) -> str:
    known = [result["tried"] for result in results if result is not None]
    if not results:
        return "-"
    missing = " (some not run)" if known and len(known) < len(results) else ""
    return f"{sum(known):,}{missing}" if known else "not run"


def main() -> int:
    """Run the rows that are asked for; the exit code of pytest."""
    words = [word for word in sys.argv[1:] if word != "--slow"]
    size = "slow" if "--slow" in sys.argv else "suite"
    rows = [row for row in ROWS if all(word in f"{row.fault} {row.suite} {row.slow}" for word in words)]
    tests = [test for row in rows for test in dict(row.by_size())[size]]
    counter = Counter()
    marker = "slow" if size == "slow" else "not slow"
    options = ["-q", "-p", "no:xdist", "-m", marker, f"--rootdir={ROOT}"]
    keep({})
    return int(pytest.main([*options, *(str(ROOT / test) for test in dict.fromkeys(tests))], plugins=[counter]))


if __name__ == "__main__":
    sys.exit(main())

"""What a person reads on the terminal of a report that was written."""

from __future__ import annotations

from altgrad_core.cli.terminal import say
from altgrad_core.experiments.report.text import as_text, plain_line
from altgrad_core.experiments.report.write import Written


def print_written(written: Written) -> None:
    """The table of a report, its answer in one sentence, and where it is."""
    say(f"{in_words(written)}report: {written.page}")


def in_words(written: Written) -> str:
    """The table of a report, and its answer in one sentence."""
    table = f"\n{as_text(written.table)}\n" if written.table.rows else ""
    return f"{table}\n{plain_line(written.heading)}.\n"

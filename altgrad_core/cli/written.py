"""What a person reads on the terminal of a report that was written."""

from __future__ import annotations

from altgrad_core.cli.terminal import say
from altgrad_core.experiments.report.text import as_text, plain_line
from altgrad_core.experiments.report.write import Written


def print_written(written: Written) -> None:
    """The table of a report, its answer in one sentence, and where it is."""
    if written.table.rows:
        say(f"\n{as_text(written.table)}")
    say(f"\n{plain_line(written.heading)}.")
    say(f"report: {written.page}")

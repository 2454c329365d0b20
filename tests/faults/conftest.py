"""What the attacks share: a run that is finished, and the code that reports need, imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from altgrad_core.experiments.report.write import write_report


@pytest.fixture(scope="session")
def finished(finished: Path) -> Path:
    """A run of eight steps with checkpoints of the last two; what it and its report need is imported and compiled by now."""
    write_report(finished, finished.with_name("report"))
    return finished

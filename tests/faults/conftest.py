"""What the attacks share: a run that is finished, and the program in forks of this process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from altgrad_core.experiments.report.write import write_report
from tests.conftest import TINY
from tests.faults.forks import Fork
from tests.running.conftest import Runs

QUICK = TINY.replace("steps = 6", "steps = 8")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps with checkpoints of the last two; what it and its report need is imported and compiled by now."""
    runs = Runs(tmp_path_factory.mktemp("finished"), QUICK)
    runs.begin("run")
    write_report(runs.folder / "run", runs.folder / "report")
    return runs.folder / "run"


@pytest.fixture
def fork(tmp_path: Path) -> Iterator[Callable[..., Fork]]:
    """Start the command line in a fork: `fork("report", directory)`. What still runs at the end is killed."""
    started: list[Fork] = []
    numbers = itertools.count()

    def start(*arguments: object, before: Callable[[], object] = lambda: None) -> Fork:
        started.append(Fork(arguments, tmp_path / f"said-{next(numbers)}", before))
        return started[-1]

    yield start
    for one in started:
        try:
            if not one.is_over():
                one.end(kill_after=0)
        except ChildProcessError:
            continue  # its end was waited for

"""What the pages show, read from the disk and kept until it changes. Nothing here writes, or takes a lock of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core.errors import AltgradError
from altgrad_core.experiments.report.weights import Seen, last_weights
from altgrad_core.experiments.study.study import Study
from altgrad_core.records.directory import RunDirectory
from altgrad_core.results.catalogue import Listed, catalogue
from altgrad_core.results.growing import GrowingRun
from altgrad_core.running.state.checkpoint import checkpoint_steps

FRESH = 1.0  # seconds for which a listing is kept
REST = 5.0  # a study is read again after this many times as long as reading it took
MOST_RUNS = 256  # runs kept in memory
MOST_CHECKPOINT = 2**28  # bytes; of a larger one the weights are not drawn


@dataclass
class _Kept:
    """A study as it was read, and what it was read from."""

    study: Study
    made_of: Any
    took: float
    at: float


@dataclass
class Sources:
    """Runs and studies below a directory.

    Attributes:
        root: the directory.
        clock: the time in seconds since the epoch.
    """

    root: Path
    clock: Callable[[], float] = time.time
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _listing: tuple[float, list[Listed]] | None = None
    _runs: dict[str, GrowingRun] = field(default_factory=dict)
    _studies: dict[str, _Kept] = field(default_factory=dict)
    _weights: dict[str, tuple[int, list[Seen] | str]] = field(default_factory=dict)

    def listing(self) -> list[Listed]:
        """Every study and run, the newest first; a study is followed by its cells."""
        with self._lock:
            now = self.clock()
            if self._listing is None or now - self._listing[0] > FRESH:
                self._listing = (now, catalogue(self.root, now=now))
            return self._listing[1]

    def listed(self, place: str, kind: str) -> Listed | None:
        """The run or study of that place; None where the listing has none, whatever the path leads to."""
        return next((result for result in self.listing() if result.kind == kind and result.place == place), None)

    def cells(self, study: Listed) -> list[Listed]:
        """The runs of a study."""
        return [run for run in self.listing() if run.kind == "run" and run.path.parent == study.path]

    def run(self, run: Listed) -> GrowingRun:
        """The records of a run, up to now."""
        with self._lock:
            growing = self._runs.pop(run.place, None) or GrowingRun(RunDirectory(run.path).records)
            self._runs[run.place] = growing
            while len(self._runs) > MOST_RUNS:
                self._runs.pop(next(iter(self._runs)))
            growing.update()
            return growing

    def study(self, study: Listed) -> Study:
        """A study as it is now, or was a moment ago.

        Raises:
            AltgradError: it cannot be read.
        """
        with self._lock:
            made_of = (study.cells, tuple((run.place, run.changed, run.status) for run in self.cells(study)))
            kept, now = self._studies.get(study.place), self.clock()
            if kept is None or (kept.made_of != made_of and now - kept.at > max(FRESH, REST * kept.took)):
                began = time.perf_counter()
                read = Study.read(study.path)
                kept = _Kept(read, made_of, time.perf_counter() - began, self.clock())
                self._studies[study.place] = kept
            return kept.study

    def weights(self, run: Listed) -> list[Seen] | str:
        """The weights of the last checkpoint on the rungs of their formats, or why there are none to see."""
        with self._lock:
            root = RunDirectory(run.path).checkpoints
            steps = checkpoint_steps(root)
            if not steps:
                return "No checkpoint has been written yet."
            known = self._weights.get(run.place)
            if known is None or known[0] != steps[0]:
                known = (steps[0], _weights(run.path, root / f"step-{steps[0]}"))
                self._weights[run.place] = known
            return known[1]


def _weights(run: Path, checkpoint: Path) -> list[Seen] | str:
    size = 0
    with suppress(OSError):
        size = sum(file.stat().st_size for file in checkpoint.iterdir())
    if size > MOST_CHECKPOINT:
        return f"The checkpoint has {size / 1e6:,.0f} MB; beyond {MOST_CHECKPOINT / 1e6:,.0f} MB weights are not drawn here."
    try:
        return last_weights(run)
    except AltgradError as error:
        return f"No weights to draw: {error}."

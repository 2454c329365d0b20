"""When the disk is asked: checkpoints of a run, the room they need, and what happens when there is none."""

from __future__ import annotations

import shutil

from altgrad_core.errors import RunError
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.sinks import Records
from altgrad_core.running.checkpoint import newest_checkpoint, prune, write_checkpoint
from altgrad_core.running.run import Run

MOST_FAILURES = 3


class Saver:
    """Writes checkpoints of one run; a full disk costs a warning, and only a lasting one ends the run."""

    def __init__(self, run: Run, directory: RunDirectory, records: Records) -> None:
        self._run, self._directory, self._records = run, directory, records
        self._failures = 0

    def check_room(self) -> None:
        """Refuse to begin where the checkpoints will not fit.

        Raises:
            RunError: too little free space.
        """
        kept = self._run.resolved.manifest.run.keep_checkpoints + 1  # a new one is whole before an old one goes
        needed = kept * self._run.checkpoint_bytes()
        free = shutil.disk_usage(self._directory.path).free
        if free < needed:
            raise RunError(
                f"{self._directory.path}: {_megabytes(free)} free, but {kept} checkpoints need about {_megabytes(needed)}; "
                "free some space, or choose another disk with --out"
            )

    def save(self) -> None:
        """Write a checkpoint of this step, then remove those no longer kept.

        Raises:
            RunError: it failed several times in a row.
        """
        step = self._run.progress.step
        try:
            self._run.progress.records_size = self._records.sync()
            path = write_checkpoint(self._directory.checkpoints, step, self._run.files())
        except OSError as error:
            self._failed(step, error)
            return
        self._failures = 0
        best = self._run.progress.best_step
        keep = self._run.resolved.manifest.run.keep_checkpoints
        prune(self._directory.checkpoints, keep=keep, also=() if best is None else (best,))
        self._records.noticed({"kind": "saved", "step": step, "path": str(path)})

    def restore(self) -> int | None:
        """Bring the run to its newest checkpoint and cut the records back to it; its step, or None: there is none.

        Raises:
            RunError: none of the checkpoints is usable, or the newest that verifies is of another run.
        """
        found = newest_checkpoint(self._directory.checkpoints)
        if found is None:
            self._records.cut_back(0)
            return None
        step, files, passed_over = found
        try:
            self._run.restore(files)
        except RunError as error:
            raise RunError(f"{self._directory.checkpoints / f'step-{step}'}: {error}") from None
        self._records.cut_back(self._run.progress.records_size)
        for problem in passed_over:
            self._records.noticed({"kind": "warning", "message": f"{problem}; using step-{step} instead"})
        return step

    def _failed(self, step: int, error: OSError) -> None:
        self._failures += 1
        what = f"{self._directory.checkpoints}: the checkpoint of step {step} could not be written: {error.strerror}"
        if self._failures >= MOST_FAILURES:
            raise RunError(
                f"{what}; {self._failures} failures in a row. Older checkpoints are kept. Free some space, then: "
                f"altgrad resume {self._directory.path}"
            )
        self._records.noticed({"kind": "warning", "message": f"{what}; the run goes on and tries again"})


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

"""When the disk is asked: checkpoints of a run, the room they need, and what happens when there is none."""

from __future__ import annotations

import errno
import json
import math
import shutil
from typing import Any, Protocol

from altgrad_core.errors import RunError
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.files import read_json
from altgrad_core.records.sinks import Records
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.state.checkpoint import (
    checkpoint_steps,
    newest_checkpoint,
    prune,
    read_checkpoint,
    write_checkpoint,
)
from altgrad_core.running.state.trained_with import manifest_hash, refuse_another_manifest

MOST_FAILURES = 3


class Checkpoints(Protocol):
    """What the loop asks of checkpoints."""

    def save(self, *, is_required: bool = False) -> None:
        """Keep the state of this step."""

    def roll_back(self, not_after: int) -> int:
        """Return to an earlier state; its step."""


class Saver:
    """Writes checkpoints of one run; a full disk costs a warning, and only a lasting one ends the run."""

    def __init__(self, run: Run, directory: RunDirectory, records: Records) -> None:
        self._run, self._directory, self._records = run, directory, records
        self._manifest = manifest_hash(directory)
        self._failures = 0
        self._saved: int | None = None

    def check_room(self) -> None:
        """Refuse to begin where the checkpoints will not fit.

        Raises:
            RunError: too little free space.
        """
        kept = self._run.settings.run.keep_checkpoints + 1  # a new one is whole before an old one goes
        present = len(checkpoint_steps(self._directory.checkpoints))
        missing = max(1, kept - present)
        needed = missing * self._run.checkpoint_bytes()
        free = shutil.disk_usage(self._directory.path).free
        if free < needed:
            raise RunError(
                f"{self._directory.path}: {_megabytes(free)} free, but {missing} checkpoints need about {_megabytes(needed)}; "
                f"free some space, or {'move the run to another disk' if present else 'choose another disk with --out'}"
            )

    def save(self, *, is_required: bool = False) -> None:
        """Write a checkpoint of this step, unless there is one, then remove those no longer kept.

        Raises:
            RunError: it failed and is required, because the run begins or ends here, or failed several times in a row.
        """
        step = self._run.progress.step
        if step == self._saved:
            return
        self._directory.confirm()
        self._note_the_best(step)
        try:
            self._run.progress.manifest_sha256 = self._manifest
            self._run.progress.records_size, self._run.progress.records_sha256 = self._records.sync()
            path = write_checkpoint(self._directory.checkpoints, step, self._run.files())
        except OSError as error:
            self._failed(step, error, is_required)
            return
        self._failures, self._saved = 0, step
        keep = self._run.settings.run.keep_checkpoints
        prune(self._directory.checkpoints, newest=step, keep=keep, also=self._treasured())
        self._records.noticed({"kind": "saved", "step": step, "path": str(path)})

    def restore(self) -> int | None:
        """Bring the run to its newest checkpoint and cut the records back to it; its step, or None: there is none.

        Raises:
            RunError: none of the checkpoints is usable, or the newest that verifies is of another run or manifest.
        """
        result = newest_checkpoint(self._directory.checkpoints)
        if result is None:
            self._records.cut_back(0, sha256=None)
            return None
        step, files, passed_over = result
        refuse_another_manifest(self._directory, step, files)
        try:
            self._run.restore(files)
        except RunError as error:
            raise RunError(f"{self._directory.checkpoints / f'step-{step}'}: {error}") from None
        self._records.cut_back(self._run.progress.records_size, sha256=self._run.progress.records_sha256)
        self._saved = step
        for problem in passed_over:
            self._records.noticed({"kind": "warning", "message": f"{problem}; using step-{step} instead"})
        try:
            self.parent()
        except RunError:
            text = f"{self._directory.parent}: is damaged: the checkpoint from which this run began is not known; it continues from its own step-{step}"
            self._records.noticed({"kind": "warning", "message": text})
        return step

    def roll_back(self, not_after: int) -> int:
        """Bring weights, formats and optimizer back to a checkpoint that was sound, see `RollBack`; its step.

        Later checkpoints go: they are of a part that is undone.
        """
        progress = self._run.progress
        steps = checkpoint_steps(self._directory.checkpoints)
        sound = [step for step in steps if step <= progress.sound_step]
        step = next((step for step in sound if step <= not_after), sound[-1])
        files = read_checkpoint(self._directory.checkpoints / f"step-{step}")
        self._run.restore_training(files)
        before = json.loads(files["progress.json"])
        progress.step, progress.sound_step = step, min(progress.sound_step, step)
        for name in ("rate_factor", "best_loss", "best_step", "best_saved"):
            setattr(progress, name, before[name])
        for later in steps:
            if later > step:
                shutil.rmtree(self._directory.checkpoints / f"step-{later}")
        self._saved = None
        self._run.processes.from_first((files, vars(progress)))
        return step

    def is_empty(self) -> bool:
        """Whether there is no checkpoint yet."""
        return not checkpoint_steps(self._directory.checkpoints)

    def parent(self) -> dict[str, Any] | None:
        """The checkpoint of another run that this one begins with, if it does.

        Raises:
            RunError: the file that names it is damaged.
        """
        file = self._directory.parent
        if not file.exists():
            return None
        try:
            saved = read_json(file)
            is_whole = type(saved["run"]) is str and type(saved["step"]) is int
        except (KeyError, RunError):
            is_whole = False
        if not is_whole:
            raise RunError(
                f"{file}: is damaged: it does not name the checkpoint that this run begins with; start it again: "
                f"altgrad run {self._directory.resolved} --from RUN_DIR@STEP --out ANOTHER_DIRECTORY"
            )
        return saved

    def _note_the_best(self, step: int) -> None:
        progress = self._run.progress
        loss = progress.validation_loss if progress.evaluated_step == step else None
        if loss is not None and math.isfinite(loss) and (progress.best_saved is None or loss < progress.best_saved):
            progress.best_saved, progress.best_step = loss, step

    def _treasured(self) -> set[int]:
        """The steps of the best checkpoint and of the last one whose weights are known to give a finite loss."""
        progress = self._run.progress
        sound = [step for step in checkpoint_steps(self._directory.checkpoints) if step <= progress.sound_step]
        return {*sound[:1], *([] if progress.best_step is None else [progress.best_step])}

    def _failed(self, step: int, error: OSError, is_required: bool) -> None:
        self._failures += 1
        reason = error.strerror or error
        what = f"{self._directory.checkpoints}: the checkpoint of step {step} could not be written: {reason}"
        if is_required or self._failures >= MOST_FAILURES:
            in_a_row = f"; {self._failures} failures in a row" if self._failures > 1 else ""
            raise RunError(f"{what}{in_a_row}. {how_to_go_on(error, self._directory)}") from error
        self._records.noticed({"kind": "warning", "message": f"{what}; the run goes on and tries again"})


def how_to_go_on(error: OSError, directory: RunDirectory) -> str:
    """What to do about a disk that refuses."""
    remedy = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Put that right"
    return f"What was saved before is kept. {remedy}, then: altgrad resume {directory.path}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

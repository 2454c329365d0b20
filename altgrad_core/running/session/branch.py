"""Beginning a run where another one stood, with something changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad_core.errors import ManifestError
from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.running.assembly.chained import load_exactly
from altgrad_core.running.assembly.run import Progress, Run
from altgrad_core.running.state.checkpoint import checkpoint_steps, read_checkpoint
from altgrad_core.running.state.serialize import load_model_file, unpacked_files


@dataclass(frozen=True)
class Parent:
    """A checkpoint of another run."""

    directory: Path
    step: int

    @classmethod
    def of(cls, text: str) -> Parent:
        """From `RUN_DIR@STEP`, or `RUN_DIR` for its newest checkpoint.

        Raises:
            ManifestError: there is no such run, or no checkpoint of that step.
        """
        path, at, number = text.rpartition("@")
        directory = RunDirectory(Path(path if at else text).absolute())
        steps = checkpoint_steps(directory.checkpoints)
        if not directory.is_begun or not steps:
            raise ManifestError(f"--from {text}: {directory.path} has no checkpoints; expected RUN_DIR@STEP")
        step = int(number) if at and number.isdecimal() else steps[0]
        if (at and not number.isdecimal()) or step not in steps:
            there = ", ".join(map(str, sorted(steps)))
            raise ManifestError(f"--from {text}: no checkpoint of step {number}; there are those of steps {there}")
        return cls(directory.path, step)

    def written(self) -> dict[str, Any]:
        """As plain data."""
        return {"run": str(self.directory), "step": self.step}


def adopt(run: Run, parent: Parent) -> dict[str, Any]:
    """Put a fresh run where its parent stood: weights, histories of scales, the state of optimizers that are the same.

    Monitors and interventions start again.

    Returns:
        What the first record tells of it.

    Raises:
        ManifestError: the run would be over already.
        RunError: the checkpoint is damaged or of another model.
    """
    directory = RunDirectory(parent.directory)
    files = read_checkpoint(directory.checkpoints / f"step-{parent.step}")
    if parent.step >= run.steps:
        raise ManifestError(
            f"{parent.directory}@{parent.step}: the run here has {run.steps} steps; give it more: --steps N"
        )
    load_model_file(run.model, files["model.safetensors"])
    run.plan.adopt(json.loads(files["plan.json"]))
    before = load_manifest(directory.resolved).data["optimizer"]
    is_same = _uses(before) == _uses(run.settings.optimizer.model_dump())
    kept = is_same and _adopt_optimizer(run, unpacked_files("optimizer", files))
    run.progress = Progress(step=parent.step, sound_step=parent.step)
    seals = b"".join(hashlib.sha256(files[name]).digest() for name in sorted(files))
    return {
        **parent.written(),
        "sha256": hashlib.sha256(seals).hexdigest(),
        "optimizer": "goes on" if kept else "starts again",
    }


def _uses(table: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Which optimizers train which layers."""
    groups = [(group["layers"], group.get("only"), group.get("use")) for group in table.get("group", [])]
    return [(table["use"],), *groups]


def _adopt_optimizer(run: Run, saved: dict[str, Any]) -> bool:
    """Load the state, not the options; whether it fits."""
    own = run.optimizer.state_dict()["param_groups"]
    if [group["params"] for group in own] != [group["params"] for group in saved["param_groups"]]:
        return False
    load_exactly(run.optimizer, {**saved, "param_groups": own})
    return True

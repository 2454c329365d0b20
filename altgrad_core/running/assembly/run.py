"""A run: everything a manifest names, built and joined; and its whole state as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad_core.contracts.dataset import ExampleData, TokenData
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.errors import RunError, reason_of
from altgrad_core.manifest.schema import Manifest
from altgrad_core.running.assembly.chained import load_exactly
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.data.batches import Batches
from altgrad_core.running.data.example_batches import ExampleBatches
from altgrad_core.running.model.freezing import Freezing
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.parallel.processes import ALONE, Processes
from altgrad_core.running.state.serialize import load_model_file, model_file, pack, packed_files, unpacked_files


@dataclass
class Progress:
    """How far a run has come, and what it must remember of its way; every field is saved.

    Attributes:
        best_loss: the lowest validation loss.
        best_step, best_saved: the step of the checkpoint with the lowest validation loss, and that loss.
        evaluated_step: when the validation loss was last measured.
        sound_step: the last step whose weights gave a finite training loss, at the step after it.
        rollbacks: how often the run returned to an earlier checkpoint.
        broke: what was not finite first, if anything was: a `FirstNonfinite` as plain data.
        records_size, records_sha256: bytes of `records.jsonl` when this was saved, and their SHA-256.
        manifest_sha256: SHA-256 of `resolved.toml`, the manifest of the run.
        metrics: those of the task, when the validation loss was last measured.
    """

    step: int = 0
    rate_factor: float = 1.0
    loss: float | None = None
    validation_loss: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    best_saved: float | None = None
    evaluated_step: int | None = None
    sound_step: int = 0
    switches: int = 0
    skipped: int = 0
    stopped: str | None = None
    reason: str | None = None
    rollbacks: int = 0
    broke: dict[str, Any] | None = None
    records_size: int = 0
    records_sha256: str = ""
    manifest_sha256: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """An assembled run. Its parts are ordinary objects; the loop calls them in order.

    Attributes:
        added_loss: what the model adds to the training loss, made of its outputs; see `ModelSpec.added_loss`.
    """

    resolved: Resolved
    model: nn.Module
    data: TokenData | ExampleData
    batches: Batches | ExampleBatches
    plan: Plan
    optimizer: Optimizer
    device: torch.device
    monitors: tuple[Monitor, ...]
    interventions: tuple[Intervention, ...]
    progress: Progress = field(default_factory=Progress)
    processes: Processes = ALONE
    added_loss: Callable[[Tensor], Tensor] | None = None
    freezing: Freezing = field(init=False)

    def __post_init__(self) -> None:
        self.freezing = Freezing(self.plan)

    @property
    def settings(self) -> Manifest:
        """The manifest, as it was validated."""
        return self.resolved.manifest

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.settings.run.steps

    def at(self, step: int, phase: str, micro_batch: int | None = None) -> None:
        """Set what is computed next; the random streams of the quantized layers depend on it.

        Args:
            phase: `train` or `evaluate`.
            micro_batch: unchanged by default.
        """
        moment = self.plan.moment
        moment.step, moment.phase = step, phase
        if micro_batch is not None:
            moment.micro_batch = micro_batch

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.resolved.name

    def parameters(self) -> int:
        """The number of trained parameters."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def checkpoint_bytes(self) -> int:
        """About how large one checkpoint will be: the model and two moments of every parameter."""
        model = sum(t.numel() * t.element_size() for t in self.model.state_dict().values())
        return model + 2 * sum(p.numel() * p.element_size() for p in self.model.parameters()) + 100_000

    def files(self) -> dict[str, bytes]:
        """The whole state of the run."""
        return {
            "model.safetensors": model_file(self.model),
            **packed_files("optimizer", self.optimizer.state_dict()),
            **packed_files("observers", self._observers_state()),
            "plan.json": json.dumps(self.plan.state_dict(), indent=1).encode(),
            "progress.json": json.dumps(vars(self.progress)).encode(),
            **(packed_files("freezing", held) if (held := self.freezing.state_dict()) else {}),
        }

    def check_state(self) -> None:
        """Whether what the optimizer and the observers remember can be saved: known after a step, and not at the next checkpoint.

        Raises:
            RunError: it cannot.
        """
        members: list[tuple[str, Any]] = [(f'monitor "{monitor.name}"', monitor) for monitor in self.monitors]
        members += [(f'intervention "{intervention.name}"', intervention) for intervention in self.interventions]
        for name, member in [("the optimizer", self.optimizer), *members]:
            try:
                pack(member.state_dict(), {}, "state")
            except Exception as error:  # code of a plugin
                raise RunError(f"the state of {name} cannot be saved: {reason_of(error)}") from error

    def restore(self, files: dict[str, bytes]) -> None:
        """Continue from `files`.

        Raises:
            RunError: they are of another model, recipe or version.
        """
        try:
            self.restore_training(files)
            self._load_observers(unpacked_files("observers", files))
            self.progress = Progress(**json.loads(files["progress.json"]))
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(f"the checkpoint does not fit this run: {type(error).__name__}: {error}") from None

    def restore_training(self, files: dict[str, bytes]) -> None:
        """Weights, formats in force, the state of the optimizer, and what is held."""
        self.plan.load_state_dict(json.loads(files["plan.json"]))
        load_model_file(self.model, files["model.safetensors"])
        load_exactly(self.optimizer, unpacked_files("optimizer", files))
        self.freezing.load_state_dict(unpacked_files("freezing", files) if "freezing.json" in files else {})

    def _observers_state(self) -> dict[str, list[dict[str, Any]]]:
        return {
            "monitors": [monitor.state_dict() for monitor in self.monitors],
            "interventions": [intervention.state_dict() for intervention in self.interventions],
        }

    def _load_observers(self, state: dict[str, list[dict[str, Any]]]) -> None:
        for group, members in (("monitors", self.monitors), ("interventions", self.interventions)):
            for member, saved in zip(members, state[group], strict=True):
                member.load_state_dict(saved)

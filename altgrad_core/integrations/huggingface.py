"""`WatchCallback` for the `Trainer` of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback

from altgrad_core.contracts.monitor import Monitor
from altgrad_core.errors import RunError
from altgrad_core.integrations.watched import Watched
from altgrad_core.running.model.plan import Plan

STATE = "altgrad.pt"
"""In every checkpoint of the trainer: the state of the watch, scales and histories included."""


class WatchCallback(TrainerCallback):
    """Writes the records of a run while a `Trainer` trains, and keeps what quantized layers remember in its checkpoints.

    The means of the readings over the layers are added to what the trainer logs, as `altgrad/READING`.

    Args:
        plan: of the model, if it is quantized; the steps of the trainer's optimizer become its steps.
        monitors, every: see `altgrad_core.watch`.
        out: the run directory; `altgrad` within the `output_dir` of the trainer by default.
    """

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        monitors: Sequence[str | Mapping[str, Any] | Monitor] = (),
        every: int | None = None,
        out: str | Path | None = None,
    ) -> None:
        self._watched = Watched(plan, monitors=monitors, every=every, out=out)
        self._hook: RemovableHandle | None = None
        self._losses: list[tuple[Tensor, bool]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Begin to watch; from the state in its checkpoint, where the trainer resumes from one."""
        model, optimizer = parts["model"], self._watched.attach(parts["optimizer"])
        self.leave()
        if not state.is_world_process_zero:
            return
        if self._hook is None:
            self._hook = model.register_forward_hook(self._take_loss, with_kwargs=True)
        is_resumed = state.global_step > 0
        self._watched.begin(
            model,
            optimizer,
            out=Path(args.output_dir, "altgrad"),
            state=torch.load(self._state_file(args, state), weights_only=True) if is_resumed else None,
            steps=state.max_steps,
            steps_per_epoch=_steps_per_epoch(parts.get("train_dataloader"), args.gradient_accumulation_steps),
        )

    def leave(self) -> None:
        """Let go of the run directory, after a training that was cut short; it can be resumed."""
        self._watched.leave()

    def _take_loss(self, model: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        loss = output.get("loss") if isinstance(output, Mapping) else None
        if model.training and isinstance(loss, Tensor):
            self._losses.append((loss.detach(), kwargs.get("num_items_in_batch") is not None))

    def add_loss(self, loss: Tensor) -> None:
        """Record the loss of a micro-batch, where the trainer computes it outside of the model.

        Call it in `compute_loss` or in `compute_loss_func`.
        """
        self._losses.append((loss.detach(), False))

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Record the step, with the loss of all its micro-batches."""
        losses, self._losses = self._losses, []
        if self._watched.watch is None:
            return
        if not losses:
            raise RunError(
                "WatchCallback: the model returned no loss to record; give it labels. If the trainer computes the loss "
                "(label_smoothing_factor, compute_loss_func), call add_loss(loss) of the callback in compute_loss"
            )
        total = sum(float(loss) for loss, _ in losses)
        are_shares = any(is_share for _, is_share in losses)  # of the whole step's loss
        self._watched.watch.step(total if are_shares else total / len(losses))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **parts: Any) -> None:
        """Add the readings."""
        if self._watched.watch is not None and logs is not None and "loss" in logs:
            readings = {f"altgrad/{name}": value for name, value in self._watched.watch.latest.items()}
            logs.update(readings)
            state.log_history[-1].update(readings)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **parts: Any) -> None:
        """Record the validation loss."""
        if self._watched.watch is not None and metrics and "eval_loss" in metrics:
            self._watched.watch.evaluated(metrics["eval_loss"])

    def on_save(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Keep the state beside the trainer's."""
        if self._watched.watch is not None:
            torch.save(self._watched.watch.state_dict(), self._state_file(args, state))

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Write the summary."""
        self._watched.close()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _state_file(self, args: Any, state: Any) -> Path:
        return Path(args.output_dir, f"checkpoint-{state.global_step}", STATE)


def _steps_per_epoch(batches: Any, accumulate: int) -> int | None:
    try:
        return -(-len(batches) // accumulate)
    except TypeError:  # a stream has no length
        return None

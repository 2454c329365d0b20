"""`WatchCallback` for the `Trainer` of Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from torch import Tensor

from altgrad_core.contracts.monitor import Monitor
from altgrad_core.errors import RunError
from altgrad_core.integrations.watched import Watched
from altgrad_core.running.model.plan import Plan


class WatchCallback(Callback):
    """Writes the records of a run while `fit` trains, and keeps what quantized layers remember in Lightning's checkpoints.

    The means of the readings over the layers are logged as `altgrad/READING`. `validate`, `test` and `predict` are not
    watched.

    Args:
        plan: of the model, if it is quantized; the steps of the first optimizer become its steps.
        monitors, every: see `altgrad_core.watch`.
        out: the run directory; `altgrad` within the `default_root_dir` of the trainer by default.
        validation_loss: the metric of that name is recorded as the validation loss.
    """

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        monitors: Sequence[str | Mapping[str, Any] | Monitor] = (),
        every: int | None = None,
        out: str | Path | None = None,
        validation_loss: str = "val_loss",
    ) -> None:
        self._watched = Watched(plan, monitors=monitors, every=every, out=out)
        self._validation_loss = validation_loss
        self._saved: dict[str, Any] | None = None
        self._losses: list[Tensor] = []
        self._steps = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch, or go on where the checkpoint says."""
        optimizer = self._watched.attach(trainer.optimizers[0])
        self.leave()
        if not trainer.is_global_zero:
            return
        steps = trainer.estimated_stepping_batches
        batches = trainer.num_training_batches
        state, self._saved = self._saved, None
        self._watched.begin(
            pl_module,
            optimizer,
            out=Path(trainer.default_root_dir, "altgrad"),
            state=state,
            steps=int(steps) if steps < float("inf") else 0,
            steps_per_epoch=-(-batches // trainer.accumulate_grad_batches) if batches < float("inf") else None,
        )
        self._steps = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the step that this batch completed, with the mean loss of its batches."""
        if self._watched.watch is None:
            return
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss.detach())
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        losses, self._losses = self._losses, []
        if not losses:
            raise RunError("WatchCallback: training_step returned no loss to record; return it, or a dict with a loss")
        self._watched.watch.step(sum(float(loss) for loss in losses) / len(losses))
        pl_module.log_dict({f"altgrad/{name}": value for name, value in self._watched.watch.latest.items()})

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the validation loss, where the model logs one."""
        loss = trainer.callback_metrics.get(self._validation_loss)
        if self._watched.watch is not None and loss is not None and not trainer.sanity_checking:
            self._watched.watch.evaluated(loss)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning saves in its checkpoints."""
        return self._watched.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What Lightning read from a checkpoint; it counts when the training starts."""
        self._saved = state_dict or None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the summary."""
        self._watched.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write the failure report."""
        if self._watched.watch is not None:
            self._watched.watch.crashed(exception)
            self._watched.watch = None

    def leave(self) -> None:
        """Let go of the run directory, after a training that was cut short; it can be resumed."""
        self._watched.leave()

"""`altgrad_core.watch`: monitors in a training loop of one's own, which write the records of a run."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from altgrad_core.contracts.events import Backpropagated, Began, Ended, Evaluated, Updated
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.errors import ManifestError, RunError
from altgrad_core.numerics.sharded import is_sharded
from altgrad_core.numerics.tracing import not_traced
from altgrad_core.records.directory import RunDirectory, default_directory
from altgrad_core.registry.registry import installed
from altgrad_core.running.loop.dispatch import Dispatch
from altgrad_core.running.model.twin import Twin
from altgrad_core.running.model.unwrapped import plain_model, plain_optimizer
from altgrad_core.running.model.view import StepView, watched_weights
from altgrad_core.running.watching.arguments import check_losses, check_state, number, scalar, whole
from altgrad_core.running.watching.broken import broken, broken_layer
from altgrad_core.running.watching.closures import once_gradients_are_there
from altgrad_core.running.watching.held import Held
from altgrad_core.running.watching.place import Place
from altgrad_core.running.watching.script import Script, ended, monitors_of, operands_of

NOTHING_SEEN: Mapping[str, Any] = {
    "step": 0,
    "loss": None,
    "validation_loss": None,
    "best_validation_loss": None,
    "skipped_steps": 0,
}


def watch(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    monitors: Sequence[str | Mapping[str, Any] | Monitor] = (),
    every: int | None = None,
    out: str | Path | None = None,
    steps: int = 0,
    steps_per_epoch: int | None = None,
    resume: bool = False,
) -> Watch:
    """Watch a training loop of one's own; what it records is read by `altgrad report`, `altgrad diagnose` and `load`.

    The model, quantized or not, is looked at before and after every step of the optimizer. Call `step(loss)` after each,
    and `close()` at the end, or use it as a context manager.

    Args:
        monitors: names, tables such as `{"use": "stable-rank", "every": 50}`, or monitors.
        every: reports of the monitors that set no pace themselves, in steps.
        out: the run directory, a fresh one; `runs/NAME` by default, with the name of the script.
        steps: optimizer steps in all, if known. Some monitors measure from a tenth of them on.
        steps_per_epoch: steps in one pass through the training data, if known.
        resume: continue the run in `out`: `load_state_dict` is called before the first step.

    Raises:
        ManifestError: there is a run in `out` already, a monitor refuses its options, or this is no model with
            weights that can be watched.
        PluginError: a monitor is not installed.
        RunError: the directory is in use, or there is nothing in it to resume.
    """
    if not isinstance(model, nn.Module):
        raise ManifestError(f"watch: expected a model, got a {type(model).__name__}; of a plan, pass plan.model")
    own = plain_model(model)
    chosen, plugins = monitors_of(monitors, installed(), every)
    path = default_directory(Path(sys.argv[0]).stem or "script") if out is None else Path(out)
    script = Script(
        name=path.name,
        model=own,
        optimizer=plain_optimizer(optimizer),
        monitors=tuple(monitor.model_copy(deep=True) for monitor in chosen),
        plugins=plugins,
        steps=whole(steps),
        layers=operands_of(own),
    )
    return Watch(script, RunDirectory(path), steps_per_epoch=steps_per_epoch, resume=resume)


class Watch:
    """A training loop that is watched. Made by `watch`."""

    def __init__(self, script: Script, directory: RunDirectory, *, steps_per_epoch: int | None, resume: bool) -> None:
        self._weights = watched_weights(script.model)
        if not self._weights:
            raise ManifestError("watch: the model has no layer with a weight matrix, so there is nothing to observe")
        if sharded := [path for path, weight in self._weights.items() if is_sharded(weight)]:
            raise ManifestError(
                f"watch: the weight of {sharded[0]} is sharded over processes (fully_shard), and monitors need whole weights; "
                "watch a script with replicas (DistributedDataParallel), or none"
            )
        self._script, self._steps_per_epoch, self._started = script, steps_per_epoch, time.perf_counter()
        self._latest: dict[str, Any] = dict(NOTHING_SEEN)
        self._taken: dict[str, Any] | None = None  # what is known of a step whose loss is not known yet
        self._after: StepView | None = None
        self._losses: Sequence[Callable[[], Tensor]] = ()
        self._broke: dict[str, Any] | None = None
        self._is_closed = False
        self._is_loaded = not resume
        self._place = Place(script, directory, resume=resume)
        weights = dict(script.model.named_parameters())
        self._held = Held(self._place.records)
        self._dispatch = Dispatch(script.monitors, (), self._held, weights=weights)
        self._hooks = [
            script.optimizer.register_step_pre_hook(self._before_step),
            script.optimizer.register_step_post_hook(self._after_step),
        ]
        if not resume:
            self._dispatch.emit(Began(0, self._view()), {})
            self._held.flush()

    @property
    def latest(self) -> dict[str, float]:
        """Of every reading that was reported so far, the mean over its layers at the last time."""
        return dict(self._held.latest)

    @property
    def directory(self) -> Path:
        """Where the records are."""
        return self._place.directory.path

    def twin(self, *losses: Callable[[], Tensor]) -> None:
        """How the loss of the coming step is computed again, for monitors that compare with the unquantized model.

        Args:
            losses: for each micro-batch, what returns its share of the loss; with dropout it seeds torch's generator as
                the step did. It holds for the next step of the optimizer alone.
        """
        check_losses(losses)
        self._losses = [scalar(loss) for loss in losses]

    def step(self, loss: Tensor | float) -> None:
        """Record a step that the optimizer has taken. One that it was kept from, by a loss scaler, counts as skipped.

        Args:
            loss: of the step, in nats per token where it is that of a language model.
        """
        self._refuse_closed()
        value = number(loss, "step")
        if self._taken is None:
            self._latest["skipped_steps"] += 1
            return
        taken, self._taken = self._taken, None
        self._latest["step"], self._latest["loss"] = taken["step"], value
        rates = taken.pop("rates")
        apart = {"learning_rates": rates} if len(set(rates)) > 1 else {}
        epoch = self._epochs(taken["step"])
        self._place.records.happened(
            {"kind": "step", "step": taken["step"], "loss": value, "learning_rate": rates[0],
             "gradient_norm": taken["gradient_norm"], **apart, "epoch": epoch}
        )  # fmt: skip
        self._note_nonfinite(taken, value)
        self._held.flush()

    def evaluated(self, loss: Tensor | float) -> None:
        """Record a validation loss, measured after the last step."""
        self._refuse_closed()
        value, step, best = number(loss, "evaluated"), self._latest["step"], self._latest["best_validation_loss"]
        self._latest["validation_loss"] = value
        if math.isfinite(value):
            self._latest["best_validation_loss"] = value if best is None else min(value, best)
        self._place.records.happened({"kind": "evaluation", "step": step, "loss": value})
        self._dispatch.emit(Evaluated(step, self._view(), value), {})
        self._held.flush()

    def state_dict(self) -> dict[str, Any]:
        """All that a watch needs to go on, and what quantized layers remember: plain data and tensors.

        Save it with the model and the optimizer.
        """
        size, sha256 = self._place.records.sync()
        return {
            "told": dict(self._latest),
            "broke": self._broke,
            "monitors": [monitor.state_dict() for monitor in self._script.monitors],
            "layers": {path: module.quantized.state_dict() for path, module in self._script.modules().items()},
            "records_size": size,
            "records_sha256": sha256,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; the records are cut back to it.

        Raises:
            RunError: it is of other monitors or layers, or the records are not those that it was saved with.
        """
        check_state(state, self.directory)
        modules = self._script.modules()
        if modules.keys() != state["layers"].keys() or len(state["monitors"]) != len(self._script.monitors):
            raise RunError(f"{self.directory}: the saved state is of other monitors or other quantized layers")
        self._place.cut_back(state["records_size"], sha256=state["records_sha256"])
        self._latest, self._broke, self._is_loaded = dict(state["told"]), state["broke"], True
        for monitor, saved in zip(self._script.monitors, state["monitors"], strict=True):
            monitor.load_state_dict(saved)
        for path, module in modules.items():
            module.quantized.load_state_dict(state["layers"][path])

    def close(self) -> None:
        """The loop is over: write the last record and the summary."""
        if self._is_closed:
            return
        loss = self._latest["loss"]
        has_diverged = loss is not None and not math.isfinite(loss)
        status = "diverged" if has_diverged else "finished"
        reason = f"the loss is {loss} at the last step" if has_diverged else None
        self._dispatch.emit(Ended(self._latest["step"], self._view(), status), {})
        self._held.flush()
        last = ended(status, reason, self._latest)
        self._place.records.happened(last)
        self._place.end(self._script.summary(last, seconds=time.perf_counter() - self._started))
        self._leave(status)

    def __enter__(self) -> Watch:
        return self

    def leave(self) -> None:
        """Look on no longer, without an end of the run: it can be continued from a saved state."""
        if not self._is_closed:
            self._leave("interrupted")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.crashed(error)

    def crashed(self, error: BaseException) -> None:
        """Look on no longer; an exception other than an interruption goes into the failure report."""
        if self._is_closed:
            return
        if isinstance(error, Exception):
            self._place.crash(self._script, self._latest["step"], error)
        self._leave("crashed" if isinstance(error, Exception) else "interrupted")

    def _leave(self, status: str) -> None:
        self._is_closed = True
        for hook in self._hooks:
            hook.remove()
        self._place.close(status)

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise RunError(f"{self.directory}: this watch is closed; start another one for another loop")

    @not_traced
    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        step = self._latest["step"] + 1
        if not self._is_loaded:
            raise RunError(f"{self.directory}: resume=True, but watch.load_state_dict(state) was not called")
        if self._taken is not None:
            raise RunError(f"{self.directory}: watch.step(loss) was not called after step {step} of the optimizer")
        return once_gradients_are_there(args, kwargs, lambda: self._observe(optimizer, step))

    def _observe(self, optimizer: Optimizer, step: int) -> None:
        gradients = [p.grad for p in self._script.model.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._taken = {"step": step, "gradient_norm": norm, "rates": rates, "broke": None}
        if self._broke is None and not math.isfinite(norm):
            self._taken["broke"] = broken_layer(self._weights, step)
        view = self._view(Twin(self._script.model, self._weights, self._losses) if self._losses else None)
        self._dispatch.emit(Backpropagated(step, view, math.nan, norm), {})
        self._after = self._view(Twin(self._script.model, self._weights, self._losses) if self._losses else None)
        self._after.snapshot(self._dispatch.shown(Updated, step))

    @not_traced
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        assert self._taken is not None and self._after is not None
        rate = self._taken["rates"][0]
        self._dispatch.emit(Updated(self._taken["step"], self._after, math.nan, rate), {})
        self._after, self._losses = None, ()

    def _note_nonfinite(self, taken: Mapping[str, Any], loss: float) -> None:
        if self._broke is None:
            self._broke = taken["broke"]
            if self._broke is None and not math.isfinite(loss):
                self._broke = broken(taken["step"], "forward", "*", f"the loss is {loss}")
            if self._broke is not None:
                self._place.records.happened({"kind": "broke", **self._broke})

    def _view(self, twin: Twin | None = None) -> StepView:
        return StepView(self._weights, self._script, twin, steps=self._script.steps, epochs=self._epochs)

    def _epochs(self, step: int) -> float:
        return step / self._steps_per_epoch if self._steps_per_epoch else 0.0

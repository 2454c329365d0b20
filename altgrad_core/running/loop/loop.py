"""The training loop. Where order matters it is a call here; where it cannot, it is an event."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import torch

from altgrad_core.contracts.actions import BEFORE_THE_UPDATE, SkipStep
from altgrad_core.contracts.events import Backpropagated, Began, Ended, Evaluated, Event, Updated
from altgrad_core.errors import AltgradError, RunError
from altgrad_core.numerics.random import derive_key
from altgrad_core.records.sinks import Sink
from altgrad_core.running.assembly.environment import seed_generator
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.loop.apply import Ruled, apply, clip_gradients
from altgrad_core.running.loop.dispatch import Decision, Dispatch
from altgrad_core.running.loop.evaluate import evaluate, shortened
from altgrad_core.running.loop.saver import Checkpoints
from altgrad_core.running.loop.signals import Signals
from altgrad_core.running.model.history import fetched
from altgrad_core.running.model.nonfinite import find_nonfinite
from altgrad_core.running.model.twin import Twin
from altgrad_core.running.model.view import StepView, watched_weights
from altgrad_core.running.parallel.reduce import exchange, total_of
from altgrad_core.running.parallel.tree import Node, TreeSum

CLOCK_LINES = 200  # throughput records in a whole run


class Loop:
    """Trains a run to its end, or until a signal or an intervention stops it."""

    def __init__(self, run: Run, records: Sink, saver: Checkpoints, signals: Signals) -> None:
        self.run, self.records, self.saver, self.signals = run, records, saver, signals
        weights = dict(run.model.named_parameters())
        self._parameters = list(weights.values())
        is_strict = bool(run.settings.run.strict)
        self.dispatch = Dispatch(run.monitors, run.interventions, records, weights=weights, is_strict=is_strict)
        self._weights = watched_weights(run.model, run.plan.known.values())
        self._ruled: Ruled = set()
        self._agreed: int | None = None  # the signal that all processes know of
        self._began, self._first = time.perf_counter(), run.progress.step

    def begin(self) -> None:
        """Announce a fresh run, and save it, so that a full or read-only disk is known before the first step."""
        self._emit(Began(self.run.progress.step, self._view()), {})
        self.saver.save(is_required=True)

    def train(self) -> str:
        """Go on from where the run stands; how it ended: `finished`, `diverged`, `stopped` or `interrupted`."""
        self.run.model.train()
        while self.run.progress.step < self.run.steps and self.run.progress.stopped is None:
            if self._is_interrupted():
                return "interrupted"
            self._step(self.run.progress.step + 1)
        return self._end()

    def _is_interrupted(self) -> bool:
        """Whether a signal came; of several processes, whether all know of one."""
        if self.run.processes.size > 1:
            self.signals.received = self.signals.received or self._agreed
            return self._agreed is not None
        return self.signals.received is not None

    def _step(self, step: int) -> None:
        run = self.run
        rates, self._ruled = self._set_learning_rates(step), set()
        rate = rates[0]
        total, gradients = self._backpropagate(step)
        loss, norm = fetched((total, torch.nn.utils.get_total_norm(gradients)), run.plan.operands())
        run.progress.loss = loss
        if math.isfinite(loss):
            run.progress.sound_step = step - 1
        record = {"kind": "step", "step": step, "loss": loss, "learning_rate": rate, "gradient_norm": norm}
        apart = {"learning_rates": rates} if len(set(rates)) > 1 else {}
        self.records.happened({**record, **apart, "epoch": run.batches.epoch(step)})
        if run.progress.broke is None and not (math.isfinite(loss) and math.isfinite(norm)):
            self._note_nonfinite(step)
        own = {"loss": loss, "relative-loss": loss / run.data.task.initial_loss, "gradient-norm": norm}
        decisions = self.dispatch.emit(Backpropagated(step, self._step_view(step), loss, norm), own)
        early = [decision for decision in decisions if isinstance(decision.action, BEFORE_THE_UPDATE)]
        self._carry_out(early, step)
        late = [decision for decision in decisions if not isinstance(decision.action, BEFORE_THE_UPDATE)]
        is_skipped = any(isinstance(decision.action, SkipStep) for decision in early)
        if is_skipped:
            run.progress.skipped += 1
        else:
            late += self._update(step, loss, rate)
        run.plan.step(is_skipped=is_skipped)
        run.progress.step = step
        self._carry_out(late, step)
        run.optimizer.zero_grad()
        if step == self._first + 1:
            run.check_state()
        if run.progress.step == step:  # and not rolled back
            self._after(step)

    def _backpropagate(self, step: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The mean loss of the step's micro-batches, in the unit of the task, and the gradients, which are left on the parameters.

        Both are summed over micro-batches in a tree that does not depend on how many processes share them.
        """
        run, count = self.run, self.run.settings.data.accumulate
        parameters, tree = self._parameters, TreeSum()
        is_first = run.processes.size > 1 and step == self._first + 1
        buffers = {name: buffer.clone() for name, buffer in run.model.named_buffers()} if is_first else {}
        for micro_batch in run.processes.share(count):
            run.at(step, "train", micro_batch)
            loss = self._micro_loss(step, micro_batch)
            loss.backward()
            tree.add(Node(0, micro_batch, [loss.detach(), *(parameter.grad for parameter in parameters)]))
            for parameter in parameters:
                parameter.grad = None
        for name, buffer in run.model.named_buffers() if is_first else ():
            if not torch.equal(buffer, buffers[name]):
                raise RunError(
                    f"model: a training pass changes its buffer {name}, which {run.processes.size} processes would see "
                    "differently; train it with one process, or without such layers (batch normalization is one)"
                )
        like = [torch.zeros((), dtype=torch.float32, device=run.device), *parameters]
        how = run.settings.run.reduce
        total, *gradients = total_of(tree, run.processes, leaves=count, like=like, how=how)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._agreed = exchange(run.plan, run.processes, self.signals.received)
        assert total is not None
        return total, [gradient for gradient in gradients if gradient is not None]

    def _micro_loss(self, step: int, micro_batch: int) -> torch.Tensor:
        """The share of one micro-batch in the loss of its step; the same whenever it is called."""
        seed_generator(self.run.device, self._key("forward", step, micro_batch))
        return self._loss(*self.run.batches.train(step, micro_batch)) / self.run.settings.data.accumulate

    def _loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        outputs = self.run.model(inputs.to(self.run.device))
        loss = self.run.data.task.loss(outputs, targets.to(self.run.device))
        return loss if self.run.added_loss is None else loss + self.run.added_loss(outputs)

    def _note_nonfinite(self, step: int) -> None:
        """Find out, once a run, what is not finite first, while the weights are still those of the pass."""
        gradients = {p.rpartition(".")[0]: w.grad for p, w in self.run.model.named_parameters() if w.dim() >= 2}
        zeros = {path: 1.0 if g is None else float((g == 0).float().mean()) for path, g in gradients.items()}
        counts = {path: 0 if g is None else g.numel() for path, g in gradients.items()}
        self.run.progress.broke = {
            **find_nonfinite(self.run.model, self.run.plan, self._losses(step), step)._asdict(),
            "gradient_zeros": sum(zeros[path] * counts[path] for path in zeros) / max(1, sum(counts.values())),
            "layers_without_gradient": [path for path, share in zeros.items() if share == 1.0],
        }
        self.records.happened({"kind": "broke", **self.run.progress.broke})

    def _update(self, step: int, loss: float, rate: float) -> list[Decision]:
        """Clip and take the optimizer's step; what is decided on seeing it."""
        view = self._step_view(step)
        view.snapshot(self.dispatch.shown(Updated, step))
        clip_norm = self.run.settings.optimizer.clip_norm
        if clip_norm is not None:
            clip_gradients(self.run, clip_norm)
        seed_generator(self.run.device, self._key("optimizer", step))
        with self.run.freezing.in_force():
            self.run.optimizer.step()
        return self.dispatch.emit(Updated(step, view, loss, rate), {"learning-rate": rate})

    def _after(self, step: int) -> None:
        table = self.run.settings.run
        if self._is_last(step) or (table.evaluate_every and step % table.evaluate_every == 0):
            self._evaluate(step)
            if self.run.progress.step != step:
                return
        is_last = self._is_last(step)  # the evaluation may have stopped the run
        if step % max(1, self.run.steps // CLOCK_LINES) == 0 or is_last:
            seconds = time.perf_counter() - self._began
            tokens = (step - self._first) * self.run.batches.tokens_per_step
            self.records.noticed(
                {"kind": "clock", "step": step, "seconds": seconds, "tokens_per_second": tokens / seconds}
            )
        if is_last or (table.checkpoint_every and step % table.checkpoint_every == 0):
            self.saver.save(is_required=is_last)

    def _is_last(self, step: int) -> bool:
        return step == self.run.steps or self.run.progress.stopped is not None

    def _evaluate(self, step: int) -> None:
        run = self.run
        result = evaluate(run, step)
        run.progress.validation_loss, run.progress.evaluated_step = result.loss, step
        run.progress.metrics = result.metrics
        if math.isfinite(result.loss):
            best = run.progress.best_loss
            run.progress.best_loss = result.loss if best is None else min(result.loss, best)
        self.records.happened({"kind": "evaluation", "step": step, "loss": result.loss, **result.metrics})
        if self._is_last(step):
            self.records.happened({"kind": "blocks", "step": step, "losses": [shortened(loss) for loss in result.each]})
        self._emit(Evaluated(step, self._view(), result.loss), {"validation-loss": result.loss, **result.metrics})

    def _end(self) -> str:
        progress = self.run.progress
        status = progress.stopped or "finished"
        for name, loss in (("validation loss", progress.validation_loss), ("loss", progress.loss)):
            if progress.stopped is None and loss is not None and not math.isfinite(loss):
                status, progress.reason = "diverged", f"the {name} is {loss} at the last step"
        self._emit(Ended(progress.step, self._view(), status), {})
        return status

    def _emit(self, event: Event, own: dict[str, float]) -> None:
        """Show an event and carry out what is decided."""
        self._carry_out(self.dispatch.emit(event, own), event.step)

    def _carry_out(self, decisions: list[Decision], step: int) -> None:
        is_rolled_back = False
        for decision in decisions:
            try:
                record = apply(decision, self.run, step, self._ruled, roll_back=self.saver.roll_back)
                self.records.happened(record)
                is_rolled_back |= "to_step" in record
            except AltgradError as error:
                name, requested = decision.intervention.name, decision.action
                raise RunError(f"intervention {name} asked at step {step} for {requested}: {error}") from error
        if is_rolled_back:  # what the checkpoint of that step says of rates and records is no longer so
            self.saver.save(is_required=True)

    def _set_learning_rates(self, step: int) -> list[float]:
        """Set every group's rate for this step; the rates, in the order of the groups."""
        factor = self.run.settings.optimizer.schedule.factor(step, self.run.steps)
        for group in self.run.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor * self.run.progress.rate_factor
        return [float(group["lr"]) for group in self.run.optimizer.param_groups]

    def _view(self) -> StepView:
        return StepView(self._weights, self.run.plan, steps=self.run.steps, epochs=self.run.batches.epoch)

    def _step_view(self, step: int) -> StepView:
        twin = Twin(self.run.model, self._weights, self._losses(step))
        return StepView(self._weights, self.run.plan, twin, steps=self.run.steps, epochs=self.run.batches.epoch)

    def _losses(self, step: int) -> list[Callable[[], torch.Tensor]]:
        """The micro-batches of a step, to be taken again."""
        return [partial(self._micro_loss, step, index) for index in range(self.run.settings.data.accumulate)]

    def _key(self, *stream: str | int) -> int:
        return derive_key(self.run.settings.run.seed, *stream)

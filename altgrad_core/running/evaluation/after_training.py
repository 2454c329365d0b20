"""`[[evaluate]]`: the loss of trained weights under other recipes, when a run has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from altgrad_core.running.assembly.library import layer_kinds
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.evaluation.subject import Batch, Measured, Subject

KIND = "recipe-evaluation"
"""The kind of the record of one of them."""
CALIBRATION = 8  # training batches that delayed scaling looks back on, as `altgrad evaluate` has it


def evaluated_after_training(run: Run, *, doing: Callable[[str], None]) -> list[dict[str, Any]]:
    """The records of every evaluation: without any rounding, then under each recipe, on the validation batches of the run.

    The model of the run is not quantized any more afterwards.

    Args:
        doing: is told what is being evaluated.
    """
    evaluations = run.resolved.evaluations
    if not evaluations:
        return []
    run.plan.remove()
    subject = subject_of(run, batches=run.settings.run.evaluate_batches, calibrate=CALIBRATION)
    doing("evaluating the weights without rounding")
    measured = [subject.plain()]
    for evaluation in evaluations:
        doing(f"evaluating the weights under {evaluation.name}")
        measured.append(subject.measure(evaluation.name, evaluation.rules))
    return [_record(run.progress.step, one) for one in measured]


def subject_of(run: Run, *, batches: int, calibrate: int) -> Subject:
    """The model of a run whose plan was removed, with its data.

    Args:
        batches: of the validation split, at most.
        calibrate: batches of the training split.
    """
    registry = run.resolved.registry

    def moved(batch: Batch) -> Batch:
        return batch[0].to(run.device), batch[1].to(run.device)

    return Subject(
        model=run.model,
        task=run.data.task,
        calibration=[moved(run.batches.train(step, 0)) for step in range(1, calibrate + 1)],
        validation=[moved(batch) for batch in run.batches.validation(batches)],
        kinds=layer_kinds(registry),
        find=lambda name: registry.get("format", name),
        seed=run.resolved.manifest.run.seed,
    )


def _record(step: int, measured: Measured) -> dict[str, Any]:
    facts = {"recipe": measured.name, "loss": measured.loss, "metrics": measured.metrics, "bits": measured.bits}
    return {"kind": KIND, "step": step, **facts}

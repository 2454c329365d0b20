"""The loss and the metrics of a run on its validation batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from altgrad_core.running.assembly.run import Run


@dataclass(frozen=True)
class Evaluation:
    """What the validation batches gave.

    Attributes:
        loss: the mean over all examples, in the unit of the task.
        each: the loss of every example, in order; of token data, of every block.
        metrics: by name, those of the task.
    """

    loss: float
    each: tuple[float, ...]
    metrics: dict[str, float]


def evaluate(run: Run, step: int) -> Evaluation:
    """Take the validation batches, shared out over the processes of a run; the weights do not change."""
    run.at(step, "evaluate")
    run.model.eval()
    task, batches = run.data.task, run.batches.validation(run.settings.run.evaluate_batches)
    mine: dict[int, tuple[float, list[float], list[float]]] = {}
    with torch.no_grad():
        for index in range(run.processes.rank, len(batches), run.processes.size):
            run.at(step, "evaluate", index)
            inputs, targets = (tensor.to(run.device) for tensor in batches[index])
            outputs = run.model(inputs)
            each, tally = task.each(outputs, targets), task.tally(outputs, targets)
            mine[index] = float(task.loss(outputs, targets)), each.tolist(), tally.tolist()
    run.model.train()
    result = {index: value for part in run.processes.gather(mine) for index, value in part.items()}
    everything = [result[index] for index in range(len(batches))]
    loss = sum(own[0] * len(batch[0]) for own, batch in zip(everything, batches, strict=True))
    loss /= sum(len(batch[0]) for batch in batches)
    tally = torch.tensor([own[2] for own in everything], dtype=torch.float64).sum(0)
    return Evaluation(loss, tuple(value for own in everything for value in own[1]), task.metrics(loss, tally))


def shortened(loss: float) -> float:
    """A loss to 7 significant digits, which are about those of float32: squared errors may be far below 1."""
    return float(f"{loss:.7g}")

"""`altgrad_core.evaluate`: the loss of a model under recipes, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from altgrad_core.contracts.task import Task
from altgrad_core.errors import ManifestError
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.library import layer_kinds, load_format, with_formats
from altgrad_core.running.evaluation.subject import Batch, Measured, Subject
from altgrad_core.running.model.recipe import Rule

Loss = Callable[[Any, Tensor], Tensor]


def evaluate(
    model: nn.Module,
    recipes: Mapping[str, Sequence[Rule]],
    batches: Sequence[Batch],
    *,
    task: Task | Loss,
    calibration: Sequence[Batch] | None = None,
) -> list[Measured]:
    """The loss of a model as it is, then under each recipe, with the errors of its layers. The model is left as it was.

    Args:
        model: not quantized.
        recipes: by name, the rules; gradients are not looked at.
        batches: inputs and targets; the model is called with the inputs, as keywords where they are a mapping. Of outputs
            with `logits`, these are taken.
        task: what the data ask of the model, or a function of outputs and targets that returns the mean loss of a batch.
        calibration: batches that delayed scaling takes its history from; `batches` by default.

    Raises:
        ManifestError: a recipe does not suit the model, the model is quantized already, or there are no batches.
    """
    if not isinstance(recipes, Mapping):
        raise ManifestError(
            f'recipes is a {type(recipes).__name__}; expected rules by name, as {{"e4m3": [Rule("*", weight="e4m3")]}}'
        )
    subject = subject_of(model, batches, task=task, calibration=calibration)
    return [
        subject.plain(),
        *(
            subject.measure(name, [with_formats(rule) for rule in rules], errors=True)
            for name, rules in recipes.items()
        ),
    ]


def subject_of(
    model: nn.Module, batches: Sequence[Batch], *, task: Task | Loss, calibration: Sequence[Batch] | None
) -> Subject:
    """What is evaluated, of the arguments of `evaluate`."""
    if not batches:
        raise ManifestError("evaluate: there are no batches; give it at least one pair of inputs and targets")
    if not callable(task) and not isinstance(task, Task):
        raise ManifestError(
            f"task is {task!r}; expected a task, as NextToken(vocabulary), or a function of outputs and targets"
        )
    return Subject(
        model=model,
        task=task if isinstance(task, Task) else OwnLoss(task),
        calibration=batches if calibration is None else calibration,
        validation=batches,
        kinds=layer_kinds(installed()),
        find=load_format,
    )


@dataclass(frozen=True)
class OwnLoss(Task):
    """A loss that is a function of outputs and targets."""

    function: Loss
    name: ClassVar = "own-loss"
    unit: ClassVar = ""

    @property
    def outputs(self) -> int:
        """Not known."""
        return 0

    @property
    def initial_loss(self) -> float:
        """Not known."""
        return 1.0

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What the function returns."""
        return self.function(outputs, targets)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of the batch, for each of its examples."""
        return self.function(outputs, targets).double().expand(len(targets))

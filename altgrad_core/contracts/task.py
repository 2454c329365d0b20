"""What a data set asks of a model: how many outputs, which loss, which metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Task(ABC):
    """What is predicted, how wrong a prediction is, and what is counted over the validation split.

    A subclass is a value: a frozen dataclass, whose losses are computed in float32.

    Attributes:
        name: recorded with the run.
        unit: of the loss.
        outputs: the last dimension of what the model returns.
        measures: the names of its metrics, which interventions can read.
        per_token: whether the model returns outputs for every token, (batch, time, outputs), or for every example,
            (batch, outputs).
        initial_loss: about the loss of a model that has learned nothing.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    measures: ClassVar[tuple[str, ...]] = ()
    per_token: ClassVar[bool] = False

    @property
    @abstractmethod
    def outputs(self) -> int:
        """The last dimension of what the model returns."""

    @property
    @abstractmethod
    def initial_loss(self) -> float:
        """About the loss of a model that has learned nothing."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""

    @abstractmethod
    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example of a batch, shape (batch,)."""

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Counts that add up over batches, float64 of one dimension; empty where the loss is all there is."""
        return outputs.new_zeros(0).double()

    def metrics(self, loss: float, tally: Tensor) -> dict[str, float]:
        """By name, the metrics of a whole split, from its mean loss and its counts."""
        return {}


@dataclass(frozen=True)
class NextToken(Task):
    """Predict every next token, of a vocabulary; cross-entropy in nats per token, and perplexity."""

    vocabulary: int
    name: ClassVar = "next-token"
    unit: ClassVar = "nats per token"
    measures: ClassVar = ("perplexity",)
    per_token: ClassVar = True

    @property
    def outputs(self) -> int:
        """One logit for every token of the vocabulary."""
        return self.vocabulary

    @property
    def initial_loss(self) -> float:
        """ln(vocabulary), that of a uniform guess."""
        return math.log(self.vocabulary)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over all tokens of logits (batch, time, vocabulary), for targets (batch, time)."""
        from torch.nn import functional

        return functional.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten())

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the tokens of each sequence."""
        from torch.nn import functional

        losses = functional.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten(), reduction="none")
        return losses.view(targets.shape).double().mean(1)

    def metrics(self, loss: float, tally: Tensor) -> dict[str, float]:
        """The perplexity, exp(loss); infinite where that is beyond a float."""
        return {"perplexity": perplexity_of(loss)}


@dataclass(frozen=True)
class OneOf(Task):
    """Choose one of several classes for every example; cross-entropy in nats, and accuracy."""

    classes: int
    name: ClassVar = "one-of"
    unit: ClassVar = "nats"
    measures: ClassVar = ("accuracy",)

    @property
    def outputs(self) -> int:
        """One logit for every class."""
        return self.classes

    @property
    def initial_loss(self) -> float:
        """ln(classes), that of a uniform guess."""
        return math.log(self.classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over logits (batch, classes), for targets (batch,) of class numbers."""
        from torch.nn import functional

        return functional.cross_entropy(outputs.float(), targets)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example."""
        from torch.nn import functional

        return functional.cross_entropy(outputs.float(), targets, reduction="none").double()

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How many are right, of how many."""
        import torch

        right = (outputs.argmax(-1) == targets).sum()
        return torch.tensor([float(right), len(targets)], dtype=torch.float64, device=outputs.device)

    def metrics(self, loss: float, tally: Tensor) -> dict[str, float]:
        """The accuracy."""
        return {"accuracy": float(tally[0] / tally[1])}


@dataclass(frozen=True)
class AnyOf(Task):
    """Choose any of several labels for every example; binary cross-entropy in nats per label, and F1 scores.

    A label is chosen where its logit is above 0, which is a probability above one half.
    """

    labels: int
    name: ClassVar = "any-of"
    unit: ClassVar = "nats per label"
    measures: ClassVar = ("micro-f1", "macro-f1")

    @property
    def outputs(self) -> int:
        """One logit for every label."""
        return self.labels

    @property
    def initial_loss(self) -> float:
        """ln(2), that of a probability of one half for everything."""
        return math.log(2)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over logits (batch, labels), for targets of the same shape, 0 or 1."""
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(outputs.float(), targets.float())

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the labels of each example."""
        from torch.nn import functional

        losses = functional.binary_cross_entropy_with_logits(outputs.float(), targets.float(), reduction="none")
        return losses.double().mean(1)

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """By label: how often it is chosen rightly, chosen wrongly, and missed."""
        import torch

        chosen, true = outputs > 0, targets > 0
        counts = [(chosen & true).sum(0), (chosen & ~true).sum(0), (~chosen & true).sum(0)]
        return torch.cat(counts).to(torch.float64)

    def metrics(self, loss: float, tally: Tensor) -> dict[str, float]:
        """F1 of all decisions together (micro), and the mean over labels (macro); 0 for a label that never occurs."""
        right, wrong, missed = tally.view(3, self.labels)
        by_label = 2 * right / (2 * right + wrong + missed).clamp(min=1)
        total = float(2 * right.sum() / (2 * right.sum() + wrong.sum() + missed.sum()).clamp(min=1))
        return {"micro-f1": total, "macro-f1": float(by_label.mean())}


@dataclass(frozen=True)
class Values(Task):
    """Predict numbers for every example; mean squared error.

    Attributes:
        values: how many numbers.
        variance: of the targets, the loss of a model that predicts their mean.
    """

    values: int
    variance: float
    name: ClassVar = "values"
    unit: ClassVar = "squared error"
    measures: ClassVar = ("explained-variance",)

    @property
    def outputs(self) -> int:
        """One output for every number."""
        return self.values

    @property
    def initial_loss(self) -> float:
        """The variance of the targets."""
        return self.variance

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over outputs (batch, values), for targets of the same shape."""
        from torch.nn import functional

        return functional.mse_loss(outputs.float(), targets)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the numbers of each example."""
        return (outputs.double() - targets.double()).square().mean(1)

    def metrics(self, loss: float, tally: Tensor) -> dict[str, float]:
        """The share of the variance that is explained."""
        return {"explained-variance": 1 - loss / self.variance}


METRICS = frozenset(name for task in (NextToken, OneOf, AnyOf, Values) for name in task.measures)
"""The metrics of these tasks."""


def perplexity_of(loss: float) -> float:
    """exp(loss), infinite where that is beyond a float; NaN stays NaN."""
    return math.inf if loss >= 700 else math.exp(loss)

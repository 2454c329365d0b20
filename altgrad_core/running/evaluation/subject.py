"""A model and batches, and what recipes make of its loss: nothing is trained, and the model is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from altgrad_core.contracts.actions import GRADIENTS, MOMENTS, ROLES, Role
from altgrad_core.contracts.layer import LayerSpec
from altgrad_core.contracts.task import Task
from altgrad_core.numerics.format import Format
from altgrad_core.running.evaluation.errors import LayerError, layer_errors, outputs_of
from altgrad_core.running.model.bits import UNQUANTIZED, mean_bits
from altgrad_core.running.model.history import advance
from altgrad_core.running.model.layers import Layer, layers_of, refuse_quantized
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule

Batch = tuple[Any, Tensor]
"""Inputs, which the model is called with (as keywords, where they are a mapping), and targets."""


@dataclass(frozen=True)
class Measured:
    """What one recipe makes of a model.

    Attributes:
        loss: the mean over the examples, in the unit of the task.
        metrics: those of the task, such as `perplexity` or `accuracy`.
        bits: of an operand in the mean; 32 where a role is not quantized. See `mean_bits`.
        each: the loss of every batch, in order.
        layers: the error of every quantized layer.
    """

    name: str
    loss: float
    metrics: dict[str, float]
    bits: float
    each: tuple[float, ...]
    layers: tuple[LayerError, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "layers": [layer._asdict() for layer in self.layers]}


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        model: not quantized.
        calibration: batches from which delayed scaling takes its history.
        validation: batches that losses are measured on.
        find: the format of a name.
    """

    model: nn.Module
    task: Task
    calibration: Sequence[Batch]
    validation: Sequence[Batch]
    kinds: Sequence[LayerSpec]
    find: Callable[[str], Format]
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_quantized(self.model)

    def layers(self) -> dict[str, Layer]:
        """The layers that can be quantized."""
        return layers_of(self.model, self.kinds)

    def plain(self, batches: Sequence[Batch] | None = None) -> Measured:
        """The model as it is."""
        with _evaluating(self.model):
            loss, metrics, each = self._loss(self.validation if batches is None else batches)
        return Measured("unquantized", loss, metrics, UNQUANTIZED, each)

    def measure(
        self, name: str, rules: Sequence[Rule], *, batches: Sequence[Batch] | None = None, errors: bool = False
    ) -> Measured:
        """The model under a recipe. Gradients and moments are not rounded, for there are none.

        Args:
            batches: instead of those of validation.
            errors: measure the errors of layers too, on the first of them.
        """
        chosen = self.validation if batches is None else batches
        with self._quantized(forward(rules)) as plan, _evaluating(self.model):
            loss, metrics, each = self._loss(chosen)
            result = layer_errors(plan, chosen[0][0]) if errors else ()
            bits = mean_bits(plan.known, chosen_quantizers(plan))
        return Measured(name, loss, metrics, bits, each, result)

    @contextmanager
    def _quantized(self, rules: Sequence[Rule]) -> Iterator[Plan]:
        """For the time being the model is quantized, and its histories are those of the calibration batches."""
        plan = Plan(self.model, rules, kinds=self.kinds, find=self.find, seed=self.seed)
        try:
            if any(operand.quantizer.scale_rule.kind == "delayed" for operand in plan.operands()):
                self._calibrate(plan)
            plan.moment.phase = "evaluate"
            yield plan
        finally:
            plan.remove()

    @torch.no_grad()
    def _calibrate(self, plan: Plan) -> None:
        with _evaluating(self.model):
            for inputs, _ in self.calibration:
                plan.moment.is_calibrating = True
                try:
                    outputs_of(self.model, inputs)
                finally:
                    plan.moment.is_calibrating = False
                advance(list(plan.operands()))
                plan.moment.step, plan.moment.passed = plan.moment.step + 1, None

    @torch.no_grad()
    def _loss(self, batches: Sequence[Batch]) -> tuple[float, dict[str, float], tuple[float, ...]]:
        each, sizes, tallies = [], [], []
        for inputs, targets in batches:
            outputs = outputs_of(self.model, inputs)
            each.append(float(self.task.loss(outputs, targets)))
            sizes.append(len(targets))
            tallies.append(self.task.tally(outputs, targets).cpu())
        loss = sum(own * size for own, size in zip(each, sizes, strict=True)) / sum(sizes)
        return loss, self.task.metrics(loss, torch.stack(tallies).sum(0)), tuple(each)


def forward(rules: Sequence[Rule]) -> list[Rule]:
    """The rules without what only training rounds; those that name nothing else are left out."""
    dropped: dict[str, Any] = dict.fromkeys((*GRADIENTS, *MOMENTS))
    kept = [replace(rule, **dropped) for rule in rules]
    return [rule for rule in kept if any(getattr(rule, role) is not None for role in ROLES)]


def chosen_quantizers(plan: Plan) -> Mapping[str, Mapping[Role, Any]]:
    """By layer and role, how a plan quantizes."""
    return {path: {role: o.quantizer for role, o in roles.items()} for path, roles in plan.layers.items()}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """For the time being every module is in evaluation."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode

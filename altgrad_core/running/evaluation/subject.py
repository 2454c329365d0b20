"""A model and batches, and what recipes make of its loss; the model is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from altgrad_core.contracts.actions import BACKWARD, GRADIENTS, MOMENTS, Role
from altgrad_core.contracts.layer import ATTENTION, LayerSpec
from altgrad_core.contracts.task import Task
from altgrad_core.manifest.recipe_schema import UNQUANTIZED_NAME
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.assembly.written import Chosen, literal
from altgrad_core.running.evaluation.descent import Descent, best_rate
from altgrad_core.running.evaluation.errors import LayerError, layer_errors, outputs_of
from altgrad_core.running.model.bits import UNQUANTIZED, Shapes, mean_bits, roles_of, sizes_of
from altgrad_core.running.model.history import advance
from altgrad_core.running.model.layers import Layer, layers_of, refuse_unfit
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule, without

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
        roles: those whose bits are counted; None: those of the products of forward passes that a recipe quantizes.
        descent: steps on the calibration batches that a loss is measured after; without any, gradients are not rounded.
    """

    model: nn.Module
    task: Task
    calibration: Sequence[Batch]
    validation: Sequence[Batch]
    kinds: Sequence[LayerSpec]
    find: Callable[[str], Format]
    seed: int = 0
    roles: tuple[Role, ...] | None = None
    descent: Descent = field(default_factory=Descent)

    def __post_init__(self) -> None:
        refuse_unfit(self.model)

    def layers(self) -> dict[str, Layer]:
        """The layers that can be quantized."""
        return layers_of(self.model, self.kinds)

    @cached_property
    def shapes(self) -> Shapes:
        """The shapes of the operands of attention, as rows, on the first calibration batch."""
        attending = [path for path, layer in self.layers().items() if "query" in layer.product.roles]
        if not attending:
            return {}
        unrounded: dict[str, Any] = {role: Quantizer(self.find("fp32")) for role in ATTENTION if role not in GRADIENTS}
        with self._quantized([Rule("|".join(map(literal, attending)), **unrounded)]) as plan:
            with _remembering(plan), _evaluating(self.model), torch.no_grad():
                outputs_of(self.model, self.calibration[0][0])
            return {path: _shapes_seen(roles) for path, roles in plan.layers.items()}

    def descending(self, steps: int) -> Subject:
        """The same, with losses after so many steps at the rate that brings the unquantized model furthest in them."""

        def loss_after(rate: float) -> float:
            return replace(self, descent=Descent(steps, rate)).plain(self.calibration).loss

        return replace(self, descent=Descent(steps, best_rate(loss_after)))

    def plain(self, batches: Sequence[Batch] | None = None) -> Measured:
        """The model as it is."""
        with _evaluating(self.model), self._descended(lambda: None):
            loss, metrics, each = self._loss(self.validation if batches is None else batches)
        return Measured(UNQUANTIZED_NAME, loss, metrics, UNQUANTIZED, each)

    def measure(
        self, name: str, rules: Sequence[Rule], *, batches: Sequence[Batch] | None = None, errors: bool = False
    ) -> Measured:
        """The model under a recipe. Moments are not rounded, and gradients only in the steps of `descent`.

        Args:
            batches: instead of those of validation.
            errors: measure the errors of layers too, on the first of them.
        """
        chosen = self.validation if batches is None else batches
        kept = without(rules, MOMENTS if self.descent.steps else (*BACKWARD, *MOMENTS))
        with self._quantized(kept) as plan, _evaluating(self.model), self._descended(partial(_next_step, plan)):
            loss, metrics, each = self._loss(chosen)
            result = layer_errors(plan, chosen[0][0]) if errors else ()
            quantizers = chosen_quantizers(plan)
        return Measured(name, loss, metrics, self._bits(quantizers), each, result)

    def _bits(self, quantizers: Chosen) -> float:
        roles = roles_of(quantizers) if self.roles is None else self.roles
        shapes = self.shapes if any(role in ATTENTION for role in roles) else {}
        return mean_bits(sizes_of(self.layers(), roles, shapes, tuple(quantizers)), quantizers)

    def _descended(self, after: Callable[[], None]) -> AbstractContextManager[None]:
        def loss(batch: Batch) -> Tensor:
            return self.task.loss(outputs_of(self.model, batch[0]), batch[1])

        return self.descent.taken(self.model, self.calibration, loss, after)

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
                with _remembering(plan):
                    outputs_of(self.model, inputs)
                advance(list(plan.operands()))
                _next_step(plan)

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


@contextmanager
def _remembering(plan: Plan) -> Iterator[None]:
    """For the time being operands remember what they see, as in training."""
    plan.moment.is_calibrating = True
    try:
        yield
    finally:
        plan.moment.is_calibrating = False


def _shapes_seen(roles: Mapping[Role, Operand]) -> dict[Role, tuple[int, ...]]:
    return {role: tuple(seen.shape) for role, operand in roles.items() if (seen := operand.seen()) is not None}


def _next_step(plan: Plan) -> None:
    """Noise of the next step is another; nothing of this one is taken again."""
    plan.moment.step, plan.moment.passed = plan.moment.step + 1, None


def chosen_quantizers(plan: Plan) -> Chosen:
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

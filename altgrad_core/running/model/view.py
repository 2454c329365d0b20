"""What events show of a run: weights around a step and operands, computed once and only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from torch import Tensor, nn

from altgrad_core.contracts.actions import Role
from altgrad_core.contracts.events import RoundedOperand, Weight
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.pattern import matches
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.running.model.layers import Layer, QuantizedModule, read_weight, weight_of
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.twin import Twin


class Operands(Protocol):
    """What a view asks of a plan, or of whatever knows the operands of a model."""

    @property
    def layers(self) -> Mapping[str, Mapping[Role, Operand]]:
        """By path and role."""

    def operands(self, pattern: str = "*") -> Iterable[Operand]:
        """Those of the layers that match a pattern."""


class StepView:
    """The view of one event. `snapshot` is called before the update, for the monitors that will look after it.

    Args:
        twin: of the training step that the event belongs to, if it does.
        steps: of the whole run.
        epochs: passes through the training data, after so many steps.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Parameter],
        plan: Operands,
        twin: Twin | None = None,
        *,
        steps: int = 0,
        epochs: Callable[[int], float] = float,
    ) -> None:
        self._parameters, self._plan, self._twin = layers, plan, twin
        self.steps, self.epochs = steps, epochs
        self._before: dict[str, Tensor] = {}
        self._rungs: dict[str, Tensor] = {}
        self._weights: dict[str, Weight] = {}

    def snapshot(self, monitors: Iterable[Monitor]) -> None:
        """Keep what the weights are before the update, as far as these monitors declare a need for it."""
        for monitor in monitors:
            for path, parameter in self._parameters.items():
                if not monitor.needs or not matches(monitor.layers, path):
                    continue
                weight = parameter.detach()
                if "before" in monitor.needs and path not in self._before:
                    self._before[path] = weight.clone()
                if "rungs" in monitor.needs and path not in self._rungs and (operand := self._operand(path)):
                    self._rungs[path] = operand.geometry.rung(weight)

    def weights(self, layers: str) -> Iterator[Weight]:
        """See `Event.weights`."""
        for path in self._parameters:
            if matches(layers, path):
                if path not in self._weights:
                    self._weights[path] = self._weight(path)
                yield self._weights[path]

    def operands(self, layers: str) -> Iterator[RoundedOperand]:
        """See `Event.operands`."""
        for operand in self._plan.operands(layers):
            yield RoundedOperand(operand.path, operand.role, operand.format, operand.scale, operand.tally)

    def twin(self) -> dict[str, Tensor]:
        """See `StepEvent.twin`."""
        return dict(self._of_a_step().gradients)

    def hvp(self, v: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `StepEvent.hvp`."""
        return self._of_a_step().hvp(v)

    def _of_a_step(self) -> Twin:
        if self._twin is None:
            raise TypeError(
                "this event has no twin: it belongs to no training step, or to a script that did not say watch.twin(loss)"
            )
        return self._twin

    def _weight(self, path: str) -> Weight:
        parameter = self._parameters[path]
        operand = self._operand(path)
        return Weight(
            path=path,
            after=parameter.detach(),
            gradient=None if parameter.grad is None else parameter.grad.detach(),
            before=self._before.get(path),
            geometry=Geometry.of(operand.format, operand.scales) if operand else None,
            rungs_before=self._rungs.get(path),
        )

    def _operand(self, path: str) -> Operand | None:
        operand = self._plan.layers.get(path, {}).get("weight")
        return operand if operand is not None and operand.quantizer.has_grid else None


def watched_weights(model: nn.Module, known: Iterable[Layer] = ()) -> dict[str, nn.Parameter]:
    """The weight matrix of every layer, by path; tied weights appear under each path that uses them.

    A layer is a module with a weight, or a product of a module that has several, such as `attn.in_proj`.

    Args:
        known: the layers of the model; without them, products are known of quantized modules alone.
    """
    products = {layer.module: list(layer.spec.products(layer.module)) for layer in known}
    result: dict[str, nn.Parameter] = {}
    for path, module in model.named_modules():
        if isinstance(module, QuantizedModule):
            products[module] = list(module.quantized.spec.products(module))
        own = {"": read_weight(module, "weight", None)}
        own |= {product.name: weight_of(module, product) for product in products.get(module, ()) if product.name}
        for name, weight in own.items():
            if isinstance(weight, nn.Parameter) and weight.dim() >= 2:
                result.setdefault(".".join(part for part in (path, name) if part), weight)
    return result

"""What a quantized forward pass rounds with: eager, in a graph of torch.compile, or in a program of torch.export."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from altgrad_core.contracts.actions import MOMENTS, WEIGHTS, Role
from altgrad_core.contracts.layer import APART, Rounding
from altgrad_core.numerics import traced
from altgrad_core.numerics.straight_through import (
    Rounded,
    Roundings,
    Rounds,
    quantized_linear,
    round_gradient,
    round_straight,
)
from altgrad_core.numerics.tracing import is_traced


class RoundingOperand(Protocol):
    """What a forward pass needs of an operand."""

    buffers: Any

    def rounded(self, x: Tensor, *, training: bool) -> Rounded: ...

    def rounds(self, *, training: bool) -> Rounds: ...

    def rounds_once(self, weight: Tensor, *, training: bool) -> Rounds: ...

    def traced(self, *, training: bool) -> traced.Traced: ...

    def exported(self, x: Tensor) -> Tensor: ...


PLACES: dict[Role, str] = dict(zip(("activation", "weight", "gradient", *APART), Roundings._fields, strict=True))
"""The fields of `Roundings`, by role."""

Products = Mapping[str, Mapping[Role, Any]]
"""The operands of each product of a module, by its name."""


class _Products:
    """The products of one module, in one pass."""

    __slots__ = ("_products", "_training")

    def __init__(self, products: Products, training: bool) -> None:
        self._products, self._training = products, training

    def is_rounded(self, *, product: str = "") -> bool:
        """See `Rounding.is_rounded`."""
        return not self._products.get(product, {}).keys() <= set(MOMENTS)

    def plain_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """See `Rounding.plain_forward`."""
        quantized: Any = type(module)
        return quantized.plain.forward(module, *args, **kwargs)


class _Rounder(_Products):
    """The operands of one module, in one pass; see `Rounding`."""

    __slots__ = ()

    def round(self, x: Tensor, role: Role, *, product: str = "") -> Tensor:
        """See `Rounding.round`."""
        rounds = self._rounds(x, role, product)
        return x if rounds is None else round_straight(x, rounds)

    def round_gradient(self, y: Tensor, role: Role = "gradient", *, product: str = "") -> Tensor:
        """See `Rounding.round_gradient`."""
        rounds = self._rounds(y, role, product)
        return y if rounds is None else round_gradient(y, rounds)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, product: str = "") -> Tensor:
        """See `Rounding.linear`."""
        operands = self._products.get(product, {}).items()
        rounds = {PLACES[role]: self._rounds_of(operand, weight, role) for role, operand in operands if role in PLACES}
        return quantized_linear(x, weight, bias, Roundings(**rounds))

    def _rounds(self, x: Tensor, role: Role, product: str) -> Rounds | None:
        operand: RoundingOperand | None = self._products.get(product, {}).get(role)
        return None if operand is None else self._rounds_of(operand, x, role)

    def _rounds_of(self, operand: RoundingOperand, x: Tensor, role: Role) -> Rounds:
        if role == "weight":
            return operand.rounds_once(x, training=self._training)
        if role in WEIGHTS:  # in the backward pass, which may never come
            return partial(operand.rounded, training=self._training)
        return operand.rounds(training=self._training)


class _TracedRounder(_Products):
    """As `_Rounder`, for torch.compile: every operand is one operation."""

    __slots__ = ()

    def round(self, x: Tensor, role: Role, *, product: str = "") -> Tensor:
        """See `Rounding.round`."""
        return traced.round_straight(x, self._traced(role, product))

    def round_gradient(self, y: Tensor, role: Role = "gradient", *, product: str = "") -> Tensor:
        """See `Rounding.round_gradient`."""
        return traced.round_gradient(y, self._traced(role, product))

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, product: str = "") -> Tensor:
        """See `Rounding.linear`."""
        roles: tuple[Role, ...] = ("activation", "weight", "gradient", *APART)
        return traced.quantized_linear(x, weight, bias, Roundings(*(self._traced(role, product) for role in roles)))

    def _traced(self, role: Role, product: str) -> traced.Traced | None:
        operand: RoundingOperand | None = self._products.get(product, {}).get(role)
        return None if operand is None else operand.traced(training=self._training)


class _ExportedRounder(_Products):
    """As `_Rounder`, for programs of torch.export that evaluate: operations that need no operand."""

    __slots__ = ()

    def round(self, x: Tensor, role: Role, *, product: str = "") -> Tensor:
        """See `Rounding.round`."""
        operand: RoundingOperand | None = self._products.get(product, {}).get(role)
        return x if operand is None else operand.exported(x)

    def round_gradient(self, y: Tensor, role: Role = "gradient", *, product: str = "") -> Tensor:
        """See `Rounding.round_gradient`; a program that evaluates has no gradients to round."""
        return y

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, product: str = "") -> Tensor:
        """See `Rounding.linear`."""
        x, weight = self.round(x, "activation", product=product), self.round(weight, "weight", product=product)
        return functional.linear(x, weight, bias)


class _TrainingRounder(_Products):
    """As `_Rounder`, for programs that train: operations on the buffers of a program."""

    __slots__ = ()

    def round(self, x: Tensor, role: Role, *, product: str = "") -> Tensor:
        """See `Rounding.round`."""
        buffers = self._buffers(role, product)
        rounded: Tensor = x if buffers is None else buffers.rounded(x)
        return rounded

    def round_gradient(self, y: Tensor, role: Role = "gradient", *, product: str = "") -> Tensor:
        """See `Rounding.round_gradient`."""
        buffers = self._buffers(role, product)
        same: Tensor = y if buffers is None else buffers.with_rounded_gradient(y)
        return same

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, product: str = "") -> Tensor:
        """See `Rounding.linear`."""
        x, weight = self.round(x, "activation", product=product), self.round(weight, "weight", product=product)
        of_gradient = self._buffers("gradient", product)
        y: Tensor = functional.linear(x, weight, bias) if of_gradient is None else of_gradient.product(x, weight, bias)
        return y

    def _buffers(self, role: Role, product: str) -> Any:
        operand: RoundingOperand | None = self._products.get(product, {}).get(role)
        return None if operand is None else operand.buffers


def rounder_of(products: Products, remembers: bool) -> Rounding:
    """What rounds the operands of a module in this pass.

    Args:
        remembers: whether operands keep what they see, as in training.
    """
    if not is_traced():
        return _Rounder(products, remembers)
    if torch.compiler.is_exporting() and not remembers:
        return _ExportedRounder(products, remembers)
    if any(operand.buffers is not None for operands in products.values() for operand in operands.values()):
        return _TrainingRounder(products, remembers)
    return _TracedRounder(products, remembers)

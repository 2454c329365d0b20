"""Rounding as autograd sees it: the identity, for operands and for gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

Rounded = tuple[Tensor, Tensor | None]  # the values, and where a gradient passes straight through (None: everywhere)
Rounds = Callable[[Tensor], Rounded]
HowT = TypeVar("HowT")

SMALL = 1 << 16
"""Elements up to which a rounded weight is kept for the backward pass: rounding so few again costs more than their memory."""


class RoundsOnce:
    """What rounds a weight in all passes of a step: every time at the scale of the first time.

    Args:
        first: rounds a weight, and says at which scale.
        again: rounds it at a scale.
    """

    __slots__ = ("_again", "_first", "_kept", "_scale")

    def __init__(
        self, first: Callable[[Tensor], tuple[Rounded, Tensor]], again: Callable[[Tensor, Tensor], Rounded]
    ) -> None:
        self._first, self._again = first, again
        self._scale: Tensor | None = None
        self._kept: tuple[Rounded, int, int | None] | None = None

    def __call__(self, weight: Tensor) -> Rounded:
        if self._scale is None:
            rounded, self._scale = self._first(weight)
            if weight.numel() <= SMALL and not (weight.is_inference() or torch._C._are_functorch_transforms_active()):
                self._kept = rounded, id(weight), weight._version
            return rounded
        if self._kept is not None and self._kept[1:] == (id(weight), weight._version):
            return self._kept[0]
        return self._again(weight, self._scale)

    def alone(self, weight: Tensor) -> Rounded:
        """Round one of several weights that `vmap` has in the place of one: at a scale of its own."""
        return self._first(weight)[0]


class StraightThroughRound(torch.autograd.Function):
    """Forward: the rounded values. Backward: the gradient as it comes, zero where |x| exceeds `bound` if there is one.

    Y. Bengio, N. Leonard, A. Courville, "Estimating or propagating gradients through stochastic neurons", 2013.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor, bound: Tensor | None) -> Tensor:
        if bound is not None:
            ctx.save_for_backward(x.abs() <= bound)
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        inside = ctx.saved_tensors
        return (gradient.where(inside[0], 0.0) if inside else gradient), None, None


class _Function(torch.autograd.Function):
    """A function for transforms of `torch.func` too; outside of them it spares the look at its signature."""

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """As torch."""
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)
        return super(torch.autograd.Function, cls).apply(*args)  # type: ignore[misc]


class _Round(_Function):
    """Forward: what `rounds` makes of x. Backward: the gradient as it comes, where it passes. Differentiable twice."""

    @staticmethod
    def forward(x: Tensor, rounds: Rounds) -> tuple[Tensor, Tensor | None]:
        values, passes = rounds(x)
        return values.view_as(values), passes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Rounds], output: tuple[Tensor, Tensor | None]) -> None:
        passes = output[1]
        if passes is not None:
            ctx.mark_non_differentiable(passes)
            ctx.save_for_backward(passes)
            ctx.save_for_forward(passes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor, None]:
        passes = ctx.saved_tensors
        return (_where(passes[0], gradient) if passes else gradient), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: Any) -> tuple[Tensor, None]:
        passes = ctx.saved_tensors
        return _where(passes[0] if passes else None, tangent.view_as(tangent)), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, rounds: Rounds) -> Any:
        """Each member of the batch is rounded by itself, with a scale of its own."""
        alone = _alone(rounds)
        parts = [_Round.apply(member, alone) for member in _members(x, in_dims[0], info.batch_size)]
        values = torch.stack([part[0] for part in parts])
        if parts[0][1] is None:
            return (values, None), (0, None)
        return (values, torch.stack([part[1] for part in parts])), (0, 0)


class _RoundGradient(_Function):
    """Forward: x itself. Backward: the rounded gradient."""

    @staticmethod
    def forward(x: Tensor, rounds: Rounds) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Rounds], output: Tensor) -> None:
        ctx.rounds = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return round_straight(gradient, ctx.rounds), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: Any) -> Tensor:
        return tangent.view_as(tangent)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, rounds: Rounds) -> tuple[Tensor, int]:
        """Each member by itself."""
        members = _members(x, in_dims[0], info.batch_size)
        return torch.stack([round_gradient(member, rounds) for member in members]), 0


class Roundings(NamedTuple, Generic[HowT]):
    """What rounds the operands of the three products of a linear layer, y = x W^T, dx = g W, dW = g^T x; None: nothing does.

    Attributes:
        x, weight: in y. Without the last three, also in the backward products.
        gradient: g, in both backward products.
        weight_in_dx, x_in_dw, gradient_in_dw: in that product alone, in place of the others; of the values before rounding.
            In dW, x and g are lines, of shape (tokens, features).
    """

    x: HowT | None = None
    weight: HowT | None = None
    gradient: HowT | None = None
    weight_in_dx: HowT | None = None
    x_in_dw: HowT | None = None
    gradient_in_dw: HowT | None = None

    @property
    def are_apart(self) -> bool:
        """Whether a product has operands of its own."""
        return not (self.weight_in_dx is None and self.x_in_dw is None and self.gradient_in_dw is None)


class _Product(_Function):
    """y = x Q(W)^T + b, straight through Q; the gradient of y is rounded once, for both products of the backward.

    W is there anyway: unless it is small, it is rounded again when it is needed, which costs little beside the products and no
    memory. The gradient of b is that of y before rounding. `unrounded` is x before rounding, where dW rounds it by a rule of its own.
    """

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, unrounded: Tensor | None, rounds: Roundings[Rounds]
    ) -> Tensor:
        return functional.linear(x, (rounds.weight or as_it_is)(weight)[0], bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, unrounded, ctx.rounds = inputs
        ctx.types = x.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.save_for_backward(x if unrounded is None else unrounded, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rounds: Roundings[Rounds] = ctx.rounds
        to_x, to_weight, to_bias = None, None, None
        lines = gradient.unsqueeze(0).flatten(0, -2)  # reshape(-1, n) fails where n is 0
        if ctx.needs_input_grad[2]:
            to_bias = _of_type(lines.sum(dim=0), ctx.types[2])
        rounded = gradient if rounds.gradient is None else round_straight(gradient, rounds.gradient)
        own_weight = _contiguous(weight, rounds.weight_in_dx) if rounds.weight_in_dx else None
        weight, weight_passes = _rounded(weight, rounds.weight or as_it_is)
        weight = weight if own_weight is None else own_weight
        # autocast multiplied in a type of its own
        x, weight = _of_type(x, gradient.dtype), _of_type(weight, gradient.dtype)
        if ctx.needs_input_grad[0]:
            to_x = _of_type(rounded @ weight, ctx.types[0])
        if ctx.needs_input_grad[1]:
            own = _contiguous(lines, rounds.gradient_in_dw) if rounds.gradient_in_dw else rounded.reshape(lines.shape)
            x = x.unsqueeze(0).flatten(0, -2)
            x = x if rounds.x_in_dw is None else _contiguous(x, rounds.x_in_dw)
            to_weight = _where(weight_passes, _of_type(own.t() @ x, ctx.types[1]))
        return to_x, to_weight, to_bias, None, None

    @staticmethod
    def jvp(ctx: Any, to_x: Any, to_weight: Any, to_bias: Any, *_: Any) -> Tensor:
        """The tangent of y; a tangent that is missing is zero."""
        x, weight = ctx.saved_tensors
        rounded, passes = _rounded(weight, ctx.rounds.weight or as_it_is)
        parts = [] if to_x is None else [functional.linear(to_x, rounded)]
        parts += [] if to_weight is None else [functional.linear(x, _where(passes, to_weight))]
        parts += [] if to_bias is None else [to_bias.expand(*x.shape[:-1], len(weight))]
        return sum(parts[1:], parts[0])

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], *inputs: Any) -> Any:
        """Each member by itself."""
        *tensors, rounds = inputs
        if in_dims[1] is not None and rounds.weight is not None:
            rounds = rounds._replace(weight=_alone(rounds.weight))
        columns = [_members(x, dim, info.batch_size) for x, dim in zip(tensors, in_dims[:-1], strict=True)]
        return torch.stack([_Product.apply(*members, rounds) for members in zip(*columns, strict=True)]), 0


def _of_type(x: Tensor, type: torch.dtype) -> Tensor:
    """`x.to(type)`, which takes longer to find that nothing is to be done."""
    return x if x.dtype == type else x.to(type)


def round_straight(x: Tensor, rounds: Rounds) -> Tensor:
    """The rounded `x`; the gradient passes straight through."""
    return _rounded(x, rounds)[0]


def _contiguous(x: Tensor, rounds: Rounds) -> Tensor:
    """The rounded `x`, contiguous, as in a graph: libraries sum products of other layouts in another order."""
    return round_straight(x, rounds).contiguous()


def _rounded(x: Tensor, rounds: Rounds) -> Rounded:
    """The values and where a gradient passes; without a node where nothing is differentiated or transformed."""
    if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        result: Rounded = _Round.apply(x, rounds)
        return result
    return rounds(x)


def round_gradient(x: Tensor, rounds: Rounds) -> Tensor:
    """`x` itself; its gradient is rounded."""
    same: Tensor = _RoundGradient.apply(x, rounds)
    return same


def quantized_linear(x: Tensor, weight: Tensor, bias: Tensor | None, rounds: Roundings[Rounds]) -> Tensor:
    """Q(x) Q(W)^T + b, shape (..., outputs); see `_Product`. Of x only what dW needs is kept for the backward pass.

    Args:
        x: of shape (..., inputs).
        weight: of shape (outputs, inputs).
        rounds: what rounds the operands of its three products.
    """
    unrounded = x if rounds.x_in_dw is not None else None
    if rounds.x is not None:
        x = round_straight(x, rounds.x)
    y: Tensor = _Product.apply(x, weight, bias, unrounded, rounds)
    return y


def _alone(rounds: Rounds) -> Rounds:
    """What rounds each member of a batch by itself."""
    return rounds.alone if isinstance(rounds, RoundsOnce) else rounds


def as_it_is(x: Tensor) -> Rounded:
    """No rounding: the values themselves, and a gradient that passes everywhere."""
    return x.detach(), None


def _where(passes: Tensor | None, gradient: Tensor) -> Tensor:
    """A gradient where it passes, zero elsewhere; one of some rows alone stays one of these rows."""
    if passes is None:
        return gradient
    if gradient.layout is not torch.sparse_coo:
        return gradient.where(passes, 0.0)
    indices, values = gradient._indices(), gradient._values()
    kept = values.where(passes[tuple(indices)], 0.0)
    return torch.sparse_coo_tensor(indices, kept, gradient.shape, is_coalesced=gradient.is_coalesced())


def _members(x: Any, dimension: int | None, size: int) -> Sequence[Any]:
    """The members of a batch; the same one again where it has no batch."""
    return [x] * size if dimension is None else x.unbind(dimension)

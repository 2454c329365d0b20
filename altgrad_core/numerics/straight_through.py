"""Rounding as autograd sees it: the identity, for operands and for gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Rounded = tuple[Tensor, Tensor | None]  # the values, and where a gradient passes straight through (None: everywhere)
Rounds = Callable[[Tensor], Rounded]


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


class QuantizedProduct(torch.autograd.Function):
    """y = Q(x) Q(W)^T + b, straight through Q; the gradient of y is rounded once, for both products of the backward.

    Of x only the rounded values are kept for the backward pass. W is there anyway: it is rounded again when it is
    needed, which costs little beside the products and no memory. The gradient of b is that of y before rounding.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rounds_x: Rounds,
        rounds_weight: Rounds,
        rounds_gradient: Rounds | None,
    ) -> Tensor:
        """The product of the rounded `x` (..., inputs) and `weight` (outputs, inputs)."""
        ctx.rounds_weight, ctx.rounds_gradient = rounds_weight, rounds_gradient
        ctx.types = x.dtype, weight.dtype, None if bias is None else bias.dtype
        rounded, passes = rounds_x(x)
        ctx.save_for_backward(rounded, passes, weight)
        return functional.linear(rounded, rounds_weight(weight)[0], bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, x_passes, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = None, None, None
        lines = gradient.reshape(-1, gradient.shape[-1])
        if ctx.needs_input_grad[2]:
            to_bias = lines.sum(dim=0).to(ctx.types[2])
        rounded = gradient if ctx.rounds_gradient is None else ctx.rounds_gradient(gradient)[0]
        weight, weight_passes = ctx.rounds_weight(weight)
        x, weight = x.to(gradient.dtype), weight.to(gradient.dtype)  # autocast multiplied in a type of its own
        if ctx.needs_input_grad[0]:
            to_x = _where(x_passes, (rounded @ weight).to(ctx.types[0]))
        if ctx.needs_input_grad[1]:
            product = rounded.reshape(lines.shape).t() @ x.reshape(-1, x.shape[-1])
            to_weight = _where(weight_passes, product.to(ctx.types[1]))
        return to_x, to_weight, to_bias, None, None, None


def as_it_is(x: Tensor) -> Rounded:
    """No rounding: the values themselves, and a gradient that passes everywhere."""
    return x.detach(), None


def _where(passes: Tensor | None, gradient: Tensor) -> Tensor:
    return gradient if passes is None else gradient.where(passes, 0.0)

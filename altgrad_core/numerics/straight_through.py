"""Rounding as autograd sees it: the identity, for operands and for gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


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


class GradientRound(torch.autograd.Function):
    """Forward: the identity. Backward: `rounds` is applied to the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounds: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.rounds = rounds
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.rounds(gradient), None

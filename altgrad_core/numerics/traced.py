"""Operands as torch.compile sees them: `altgrad::round_operand`, one opaque operation, and its gradients.

An operand has a tensor of three numbers: its own, by which the operation finds it and calls it, so that scales, histories,
counts and noise are those of an eager call; that of its calls; and that of the process, so that a program of torch.export
does not find another operand elsewhere. The operation writes to this tensor: so torch neither drops, merges nor reorders its
calls, and layers that are compiled one by one share a graph. In evaluation torch.export does not come here.
"""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.nn import functional

from altgrad_core.errors import FormatError
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.straight_through import Rounded, Roundings


class Traced(NamedTuple):
    """An operand within a graph.

    Attributes:
        state: its number in this process, that of its calls, and that of the process, int64 of shape (3,), on the CPU.
        clips: whether its gradient passes only where no value overflowed.
        training: whether the operand remembers what it sees.
    """

    state: Tensor
    clips: bool
    training: bool


class TracedOperand(ABC):
    """An operand that the operation finds by its number in this process; a copy has a number of its own."""

    quantizer: Quantizer
    buffers: Any = None
    """Its buffers in a program that trains, while it is exported."""

    def __init__(self) -> None:
        self._know()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._know()

    def _know(self) -> None:
        number = next(_NUMBERS)
        _OPERANDS[number] = self
        self._state = torch.tensor([number, 0, _PROCESS], device="cpu")

    def traced(self, *, training: bool) -> Traced:
        """This operand within a graph."""
        return Traced(self._state, self.quantizer.straight_through == "clipped", training)

    @abstractmethod
    def rounded(self, x: Tensor, *, training: bool) -> Rounded:
        """The values of `x`, and where a gradient passes."""


_PROCESS = secrets.randbits(63)
_NUMBERS = itertools.count()
_OPERANDS: WeakValueDictionary[int, TracedOperand] = WeakValueDictionary()  # a number is never used twice


@torch.library.custom_op(
    "altgrad::round_operand",
    mutates_args=("state",),
    schema="(Tensor x, Tensor(a!) state, bool clips, bool training) -> (Tensor, Tensor)",
)
def _round_operand(x: Tensor, state: Tensor, clips: bool, training: bool) -> tuple[Tensor, Tensor]:
    """The values, and where a gradient passes: of no elements where it passes everywhere."""
    number, _, process = state.tolist()
    operand = _OPERANDS.get(number) if process == _PROCESS else None
    if operand is None:
        raise FormatError(
            "altgrad::round_operand: this operand is not one of this process; compile a model in the process that quantized it; "
            "for torch.export call model.eval() first, or export it by training_program"
        )
    state[1] += 1
    values, passes = operand.rounded(x, training=training)
    values = values.contiguous()
    if values.data_ptr() == x.data_ptr():
        values = values.clone()  # torch takes no input for an output
    return values, x.new_empty(0, dtype=torch.bool) if passes is None else passes.contiguous()


@_round_operand.register_fake
def _(x: Tensor, state: Tensor, clips: bool, training: bool) -> tuple[Tensor, Tensor]:
    passes = x.new_empty(x.shape if clips else (0,), dtype=torch.bool)
    return torch.empty_like(x, memory_format=torch.contiguous_format), passes


def _rounded(x: Tensor, how: Traced) -> tuple[Tensor, Tensor]:
    values, passes = torch.ops.altgrad.round_operand(x, *how)
    return values, passes


class _Round(torch.autograd.Function):
    """Forward: the rounded values. Backward: the gradient as it comes, where it passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, state: Tensor, clips: bool, training: bool) -> Tensor:
        values, passes = _rounded(x, Traced(state, clips, training))
        ctx.clips = clips
        ctx.save_for_backward(passes)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (passes,) = ctx.saved_tensors
        return (gradient.where(passes, 0.0) if ctx.clips else gradient), None, None, None


class _RoundGradient(torch.autograd.Function):
    """Forward: x itself. Backward: the rounded gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, state: Tensor, clips: bool, training: bool) -> Tensor:
        ctx.how = state, clips, training
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _rounded(gradient, Traced(*ctx.how))[0], None, None, None


class _Product(torch.autograd.Function):
    """y = x W^T + b, for rounded x and W; as that of `straight_through`, but W is kept, not rounded again.

    `own_weight` and `own_x` are the values before rounding, where dx or dW rounds them by a rule of its own. `flat` has state,
    clips and training of the gradient, the weight in dx, x in dW and the gradient in dW; state is None where nothing rounds.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        own_weight: Tensor | None,
        own_x: Tensor | None,
        *flat: Any,
    ) -> Tensor:
        ctx.flat = flat
        ctx.types = x.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.save_for_backward(x if own_x is None else own_x, weight if own_weight is None else own_weight)
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        flat = ctx.flat
        to_x, to_weight, to_bias = None, None, None
        lines = gradient.reshape(-1, gradient.shape[-1])
        if ctx.needs_input_grad[2]:
            to_bias = lines.sum(dim=0).to(ctx.types[2])
        rounded = _rounded_by(gradient, *flat[:3])
        weight = _rounded_by(weight, *flat[3:6]).to(gradient.dtype)  # autocast multiplied in a type of its own
        if ctx.needs_input_grad[0]:
            to_x = (rounded @ weight).to(ctx.types[0])
        if ctx.needs_input_grad[1]:
            own = rounded.reshape(lines.shape) if flat[9] is None else _rounded_by(lines, *flat[9:])
            x = _rounded_by(x.to(gradient.dtype).reshape(-1, x.shape[-1]), *flat[6:9])
            to_weight = (own.t() @ x).to(ctx.types[1])
        return to_x, to_weight, to_bias, *(None for _ in range(2 + len(flat)))


def _rounded_by(x: Tensor, state: Tensor | None, clips: bool, training: bool) -> Tensor:
    return x if state is None else _rounded(x, Traced(state, clips, training))[0]


def round_straight(x: Tensor, how: Traced | None) -> Tensor:
    """The rounded `x`; the gradient passes straight through."""
    if how is None:
        return x
    result: Tensor = _Round.apply(x, *how)
    return result


def round_gradient(x: Tensor, how: Traced | None) -> Tensor:
    """`x` itself; its gradient is rounded."""
    if how is None:
        return x
    same: Tensor = _RoundGradient.apply(x, *how)
    return same


def quantized_linear(x: Tensor, weight: Tensor, bias: Tensor | None, hows: Roundings[Traced]) -> Tensor:
    """As `straight_through.quantized_linear`."""
    own_weight = weight if hows.weight_in_dx and hows.weight else None  # torch.compile takes no tensor twice
    unrounded = own_weight, (x if hows.x_in_dw and hows.x else None)
    x, weight = round_straight(x, hows.x), round_straight(weight, hows.weight)
    if hows.gradient is None and not hows.are_apart:
        return functional.linear(x, weight, bias)
    backward = (hows.gradient, hows.weight_in_dx, hows.x_in_dw, hows.gradient_in_dw)
    flat = [part for how in backward for part in (how or (None, False, False))]
    y: Tensor = _Product.apply(x, weight, bias, *unrounded, *flat)
    return y

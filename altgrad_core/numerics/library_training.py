"""Operands of a program that trains, as operations of torch: what an operand remembers are tensors that they update.

An operand is a text, of `OperandText`, and five tensors, of `Memory`. `altgrad::round_operand_at` rounds and `remember` updates the
tensors: two operations, because torch differentiates only those that change no input. `operand_gradient` and
`operand_linear` do both with a gradient, in the backward pass. `advance` ends a step.

What they do depends on no number of a tensor, and what changes from step to step is in tensors: so on a device nothing is
waited for, and a CUDA graph that has captured a step can be replayed for the next ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from altgrad_core.numerics.backends import choose, choose_for
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.library import Parts, quantizer
from altgrad_core.numerics.ops import amax, scale_of
from altgrad_core.numerics.quantizer import Quantizer

MEMORY = "Tensor history, Tensor scale, Tensor amax, Tensor counts, Tensor step"
MUTABLE = "Tensor history, Tensor(a!) scale, Tensor(b!) amax, Tensor(c!) counts, Tensor step"
CALLS, STEP = 5, 6  # the places of `Memory.counts` after those of a tally


class Memory(NamedTuple):
    """What an operand remembers.

    Attributes:
        history: the largest amax of each of the last steps, float32 of shape (steps,), the last one last; 0: none yet.
        scale: float32: that of the last pass; of the tiles of activations and gradients only if it is fixed, and else of shape
            () and 1.
        amax: float32 of shape (2,): that of the last pass, and the largest of this step, for the history.
        counts: int64 of shape (7,): elements, overflow, underflow, nan, infinite of a step; its rounded tensors; its number.
        step: the number of the step, int64 of shape (); one tensor for all operands.
    """

    history: Tensor
    scale: Tensor
    amax: Tensor
    counts: Tensor
    step: Tensor


@dataclass(frozen=True)
class OperandText:
    """What an operand is.

    Attributes:
        how: the quantizer, as `written.text_of` writes it.
        stream: the parts of the key of its noise that come before the step.
        replica: as `operand_key` has it.
        is_once: whether a step counts it once, and rounds it alike in every pass, as weights.
        is_fixed: whether its scale stays.
        keeps_infinities: whether infinities stay what they are.
    """

    how: str
    stream: tuple[str | int, ...]
    replica: int
    is_once: bool
    is_fixed: bool
    keeps_infinities: bool

    def text(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@cache
def _operand(text: str) -> OperandText:
    known = json.loads(text)
    return OperandText(**{**known, "stream": tuple(known["stream"])})


def round_operand(x: Tensor, operand: str, memory: Memory) -> Tensor:
    """`x` rounded, with the straight-through gradient; the memory takes it in."""
    values, scale, amax, counts = torch.ops.altgrad.round_operand_at(x, operand, *memory)
    torch.ops.altgrad.remember(scale.detach(), amax.detach(), counts, x.numel(), operand, *memory)
    return values


@torch.library.custom_op(
    "altgrad::round_operand_at",
    mutates_args=(),
    schema=f"(Tensor x, str operand, {MEMORY}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _round_operand_at(x: Tensor, operand: str, *memory: Tensor) -> Parts:
    """The values, the scales, the amax and the counts."""
    text, now = _operand(operand), Memory(*memory)
    how = quantizer(text.how)
    key = _key(text, now) if how.mode.random_bits else None
    done = choose_for("quantize", x, how).quantize(x, how, scale=_given_scale(x, how, text, now), key=key)
    if text.keeps_infinities:
        done = done.with_infinities(x)
    counts = [torch.as_tensor(count, dtype=torch.int64, device=x.device) for count in done.tally[2:]]
    return done.values, done.scale.clone(), done.tally.amax, torch.stack(counts)


def _key(text: OperandText, memory: Memory) -> Tensor:
    """The key of this call within the step; the first one's where a step rounds alike in every call."""
    step, calls = memory.step.to(memory.counts.device), memory.counts[CALLS]
    call = calls.new_zeros(()) if text.is_once else torch.where(memory.counts[STEP] == step, calls, 0)
    case = Case("key", step.device.type, step.dtype, step.is_contiguous())
    key: Tensor = choose(case).key(text.stream, 0 if text.is_once else text.replica, step, call)
    return key


def _given_scale(x: Tensor, how: Quantizer, text: OperandText, memory: Memory) -> Tensor | None:
    """A fixed scale, or that of earlier steps, in place of which the first step takes that of the tensor; None: its own."""
    if text.is_fixed:
        return memory.scale
    if how.scale_rule.kind != "delayed":
        return None
    largest = memory.history.max()
    largest = torch.where(largest > 0, largest, amax(x).to(largest.device))
    return scale_of(largest, how)


@_round_operand_at.register_fake
def _(x: Tensor, operand: str, *memory: Tensor) -> Parts:
    text = _operand(operand)
    shape = memory[1].shape if text.is_fixed else quantizer(text.how).tiling.shape(tuple(x.shape))
    amax, counts = x.new_empty((), dtype=torch.float32), x.new_empty((4,), dtype=torch.int64)
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        x.new_empty(shape, dtype=torch.float32),
        amax,
        counts,
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Parts) -> None:
    x, operand = inputs[:2]
    ctx.how = quantizer(_operand(operand).how)
    if ctx.how.straight_through == "clipped":
        ctx.save_for_backward(x, output[1])


def _pass_through(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    if saved := ctx.saved_tensors:
        gradient = gradient.where(saved[0].abs() <= ctx.how.clip_bound(*saved), 0.0)
    return gradient, *(None,) * 6


_round_operand_at.register_autograd(_pass_through, setup_context=_keep)


@torch.library.custom_op(
    "altgrad::remember",
    mutates_args=("scale", "amax", "counts"),
    schema=f"(Tensor scale_now, Tensor amax_now, Tensor counts_now, SymInt elements, str operand, {MUTABLE}) -> ()",
)
def _remember(scale: Tensor, amax: Tensor, counts: Tensor, elements: int, operand: str, *memory: Tensor) -> None:
    text, own = _operand(operand), Memory(*memory)
    how, step = quantizer(text.how), own.step.to(own.counts.device)
    is_new = own.counts[STEP] != step
    counted = is_new if text.is_once else torch.ones_like(is_new)
    if not text.is_fixed and scale.shape == own.scale.shape:
        own.scale.copy_(torch.where(counted, scale, own.scale))
    if how.tiling.whole:
        own.amax[0] = torch.where(counted, amax, own.amax[0])
    if how.scale_rule.kind == "delayed":
        own.amax[1] = torch.where(counted, torch.maximum(own.amax[1], amax), own.amax[1])
    seen = torch.cat([counts.new_full((1,), elements), counts, counts.new_ones(1)])
    before = own.counts[:STEP]
    own.counts[:STEP] = torch.where(is_new, seen, torch.where(counted, before + seen, before))
    own.counts[STEP] = step


@_remember.register_fake
def _(*_: Any) -> None:
    return None


@torch.library.custom_op(
    "altgrad::operand_gradient", mutates_args=(), schema=f"(Tensor y, str operand, {MEMORY}) -> Tensor"
)
def _operand_gradient(y: Tensor, *_: Any) -> Tensor:
    """`y` itself; its gradient is rounded."""
    return y.clone()


@_operand_gradient.register_fake
def _(y: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(y)


def _keep_operand(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.operand, ctx.memory = inputs[1], Memory(*inputs[2:])


def _rounded_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return round_operand(gradient, ctx.operand, ctx.memory), *(None,) * 6


_operand_gradient.register_autograd(_rounded_gradient, setup_context=_keep_operand)


@torch.library.custom_op(
    "altgrad::operand_linear",
    mutates_args=(),
    schema=f"(Tensor x, Tensor weight, Tensor? bias, str operand, {MEMORY}) -> Tensor",
)
def _operand_linear(x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    """x W^T + b; the gradient is rounded once, for both products of the backward pass."""
    return functional.linear(x, weight, bias)


@_operand_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _keep_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, ctx.operand, *memory = inputs
    ctx.memory = Memory(*memory)
    ctx.save_for_backward(x, weight)


def _product_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    lines = gradient.reshape(-1, gradient.shape[-1])
    to_bias = lines.sum(dim=0) if ctx.needs_input_grad[2] else None
    rounded = round_operand(gradient, ctx.operand, ctx.memory)
    to_x = rounded @ weight if ctx.needs_input_grad[0] else None
    to_weight = rounded.reshape(lines.shape).t() @ x.reshape(-1, x.shape[-1]) if ctx.needs_input_grad[1] else None
    return to_x, to_weight, to_bias, *(None,) * 6


_operand_linear.register_autograd(_product_gradients, setup_context=_keep_product)


@torch.library.custom_op(
    "altgrad::advance", mutates_args=("history", "amax"), schema="(Tensor(a!) history, Tensor(b!) amax) -> ()"
)
def _advance(history: Tensor, amax: Tensor) -> None:
    """A step is over: its largest amax becomes the last entry of the history, unless it is 0: nothing was seen."""
    history.copy_(torch.where(amax[1] > 0, torch.cat([history[1:], amax[1:]]), history))
    amax[1] = 0.0


@_advance.register_fake
def _(*_: Any) -> None:
    return None

"""The operations registered with torch as `altgrad::...`: opaque to torch.compile, FakeTensor and torch.func.

torch's operations take a quantizer as the text of `written.text_of`, which says all that it is: so a program of
`torch.export` runs in any process that has loaded this module. Eager calls of `ops` do not come here: torch's dispatcher
would cost a small tensor more than the rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from altgrad_core.numerics.backends import choose_for
from altgrad_core.numerics.checks import check_scale
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.hadamard import restored, transformed
from altgrad_core.numerics.quantizer import Quantizer, check_own_scale
from altgrad_core.numerics.tally import Quantized, Tally
from altgrad_core.numerics.tracing import constant_when_traced
from altgrad_core.numerics.written import quantizer_of, text_of

Parts = tuple[Tensor, Tensor, Tensor, Tensor]  # values, scales, amax, and the four counts of a tally
quantizer = lru_cache(maxsize=None)(quantizer_of)


@constant_when_traced
def name_of(how: Quantizer | Format, *facts: Any) -> str:
    """The text by which torch's operations know a quantizer, or `Quantizer(how, *facts)`.

    torch.compile calls this when it traces, with the values themselves, and takes the text for a constant.
    """
    return text_of(Quantizer(how, *facts) if isinstance(how, Format) else how)


def quantize(x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: int | None = None) -> Quantized:
    """As `ops.quantize`, as one operation of torch; not for the identity."""
    values, scale, amax, counts = torch.ops.altgrad.quantize(x, name_of(how), scale, key)
    return Quantized(values, scale, Tally(x.numel(), amax, *counts.unbind()))


@torch.library.custom_op(
    "altgrad::quantize",
    mutates_args=(),
    schema="(Tensor x, str how, Tensor? scale, SymInt? key) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _quantize(x: Tensor, how: str, scale: Tensor | None, key: int | None) -> Parts:
    own_how = quantizer(how)
    if scale is not None:
        check_scale("quantize", scale, x, own_how.tiling.shape(tuple(x.shape)))
    if (size := own_how.hadamard) is not None:
        own_how, signs = own_how.unrotated, own_how.hadamard_signs
        rotated = transformed(x, size, signs)
        done: Quantized = choose_for("quantize", rotated, own_how).quantize(rotated, own_how, scale=scale, key=key)
        done = done._replace(values=restored(done.values, size, signs).to(x.dtype))
    else:
        done = choose_for("quantize", x, own_how).quantize(x, own_how, scale=scale, key=key)
    assert done.tally is not None
    counts = [torch.as_tensor(count, dtype=torch.int64, device=x.device) for count in done.tally[2:]]
    own = done.scale.clone() if done.scale is scale else done.scale  # torch takes no input for an output
    return done.values, own, done.tally.amax, torch.stack(counts)


@_quantize.register_fake
def _(x: Tensor, how: str, scale: Tensor | None, key: int | None) -> Parts:
    shape = quantizer(how).tiling.shape(tuple(x.shape))
    scales = x.new_empty(shape, dtype=torch.float32) if scale is None else torch.empty_like(scale)
    amax, counts = x.new_empty((), dtype=torch.float32), x.new_empty((4,), dtype=torch.int64)
    return torch.empty_like(x, memory_format=torch.contiguous_format), scales, amax, counts


@_quantize.register_vmap
def _(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
    """One tensor after another, each at scales of its own; the random bits of all are the same."""
    return each(torch.ops.altgrad.quantize, info, in_dims, inputs), (0, 0, 0, 0)


def each(operation: Callable[..., Any], info: Any, in_dims: Any, inputs: Any) -> Any:
    """What an operation makes of every member of a batch, stacked along a first dimension.

    Args:
        in_dims: of each input, the dimension of its members; None where all have the same one.
    """
    columns = [
        [input] * info.batch_size if dimension is None else input.unbind(dimension)
        for input, dimension in zip(inputs, in_dims, strict=True)
    ]
    members = [operation(*member) for member in zip(*columns, strict=True)]
    if isinstance(members[0], Tensor):
        return torch.stack(members)
    return tuple(torch.stack(part) for part in zip(*members, strict=True))


@torch.library.custom_op(
    "altgrad::fake_quantize",
    mutates_args=(),
    schema="(Tensor x, str how, Tensor? scale, SymInt? key) -> (Tensor, Tensor)",
)
def _fake_quantize(x: Tensor, how: str, scale: Tensor | None, key: int | None) -> tuple[Tensor, Tensor]:
    _check_scale(how, scale)
    values, scales, _, _ = _quantize(x, how, scale, key)
    return values, scales


@_fake_quantize.register_fake
def _(x: Tensor, how: str, scale: Tensor | None, key: int | None) -> tuple[Tensor, Tensor]:
    _check_scale(how, scale)
    shape = quantizer(how).tiling.shape(tuple(x.shape))
    scales = x.new_empty(shape, dtype=torch.float32) if scale is None else torch.empty_like(scale)
    return torch.empty_like(x, memory_format=torch.contiguous_format), scales


@_fake_quantize.register_vmap
def _(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
    return each(torch.ops.altgrad.fake_quantize, info, in_dims, inputs), (0, 0)


def _check_scale(how: str, scale: Tensor | None) -> None:
    if scale is None:
        check_own_scale(quantizer(how))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.how, _, _ = inputs
    if quantizer(ctx.how).straight_through == "clipped":
        ctx.save_for_backward(x, output[1])


def _pass_through(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None]:
    saved = ctx.saved_tensors
    if not saved:
        return gradient, None, None, None
    x, scale = saved
    bound = quantizer(ctx.how).clip_bound(x, scale)
    assert bound is not None
    return gradient.where(x.abs() <= bound, 0.0), None, None, None


_fake_quantize.register_autograd(_pass_through, setup_context=_keep)


def fake_quantize(x: Tensor, how: Quantizer | Format, *facts: Any, key: int | None = None) -> Tensor:
    """As `ops.fake_quantize`, as one operation of torch with the straight-through gradient; not for the identity.

    Args:
        how, facts: as `name_of` has them.
    """
    values: Tensor = torch.ops.altgrad.fake_quantize(x, name_of(how, *facts), None, key)[0]
    return values

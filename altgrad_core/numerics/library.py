"""The operations registered with torch as `altgrad::...`: opaque to torch.compile, FakeTensor and torch.func.

A quantizer crosses the border to torch as a name, under which it is known from then on. Eager calls of `ops` do not come
here: torch's dispatcher would cost a small tensor more than the rounding.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from altgrad_core.numerics.backends import choose_for
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.quantizer import Quantizer, check_own_scale
from altgrad_core.numerics.tally import Quantized, Tally

Parts = tuple[Tensor, Tensor, Tensor, Tensor]  # values, scales, amax, and the four counts of a tally
_KNOWN: dict[str, Quantizer] = {}  # only ever grows, and a name always is that of the same quantizer


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def name_of(how: Quantizer | Format, *facts: Any) -> str:
    """The name under which torch's operations know a quantizer, or `Quantizer(how, *facts)`.

    torch.compile calls this when it traces, with the values themselves, and takes the name for a constant.
    """
    how = Quantizer(how, *facts) if isinstance(how, Format) else how
    format = how.target
    facts = (format.digest, how.rounding, how.scale_rule, how.overflow, how.straight_through, how.nonfinite)
    name = "/".join([format.name, *map(str, facts[1:2]), hashlib.sha256(repr(facts).encode()).hexdigest()])
    _KNOWN.setdefault(name, how)
    return name


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
    quantizer = _KNOWN[how]
    done: Quantized = choose_for("quantize", x, quantizer).quantize(x, quantizer, scale=scale, key=key)
    assert done.tally is not None
    counts = [torch.as_tensor(count, dtype=torch.int64, device=x.device) for count in done.tally[2:]]
    own = done.scale.clone() if done.scale is scale else done.scale  # torch takes no input for an output
    return done.values, own, done.tally.amax, torch.stack(counts)


@_quantize.register_fake
def _(x: Tensor, how: str, scale: Tensor | None, key: int | None) -> Parts:
    shape = _KNOWN[how].tiling.shape(tuple(x.shape))
    scales = x.new_empty(shape, dtype=torch.float32) if scale is None else torch.empty_like(scale)
    amax, counts = x.new_empty((), dtype=torch.float32), x.new_empty((4,), dtype=torch.int64)
    return torch.empty_like(x, memory_format=torch.contiguous_format), scales, amax, counts


@_quantize.register_vmap
def _(info: Any, in_dims: Any, x: Tensor, how: str, scale: Tensor | None, key: int | None) -> tuple[Parts, Any]:
    """One tensor after another, each at scales of its own; the random bits of all are the same."""
    x_dim, scale_dim = in_dims[0], in_dims[2]
    size = info.batch_size
    xs = [x] * size if x_dim is None else x.unbind(x_dim)
    scales = [scale] * size if scale is None or scale_dim is None else scale.unbind(scale_dim)
    each = [torch.ops.altgrad.quantize(one, how, its, key) for one, its in zip(xs, scales, strict=True)]
    return tuple(torch.stack(part) for part in zip(*each, strict=True)), (0, 0, 0, 0)  # type: ignore[return-value]


@torch.library.custom_op(
    "altgrad::fake_quantize",
    mutates_args=(),
    schema="(Tensor x, str how, SymInt? key) -> (Tensor, Tensor)",
)
def _fake_quantize(x: Tensor, how: str, key: int | None) -> tuple[Tensor, Tensor]:
    check_own_scale(_KNOWN[how])
    values, scale, _, _ = _quantize(x, how, None, key)
    return values, scale


@_fake_quantize.register_fake
def _(x: Tensor, how: str, key: int | None) -> tuple[Tensor, Tensor]:
    check_own_scale(_KNOWN[how])
    scale = x.new_empty(_KNOWN[how].tiling.shape(tuple(x.shape)), dtype=torch.float32)
    return torch.empty_like(x, memory_format=torch.contiguous_format), scale


@_fake_quantize.register_vmap
def _(info: Any, in_dims: Any, x: Tensor, how: str, key: int | None) -> tuple[Any, Any]:
    each = [torch.ops.altgrad.fake_quantize(one, how, key) for one in x.unbind(in_dims[0])]
    return tuple(torch.stack(part) for part in zip(*each, strict=True)), (0, 0)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.how, _ = inputs
    if _KNOWN[ctx.how].straight_through == "clipped":
        ctx.save_for_backward(x, output[1])


def _pass_through(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:
    saved = ctx.saved_tensors
    if not saved:
        return gradient, None, None
    x, scale = saved
    bound = _KNOWN[ctx.how].clip_bound(x, scale)
    assert bound is not None
    return gradient.where(x.abs() <= bound, 0.0), None, None


_fake_quantize.register_autograd(_pass_through, setup_context=_keep)


def fake_quantize(x: Tensor, how: Quantizer | Format, *facts: Any, key: int | None = None) -> Tensor:
    """As `ops.fake_quantize`, as one operation of torch with the straight-through gradient; not for the identity.

    Args:
        how, facts: as `name_of` has them.
    """
    values: Tensor = torch.ops.altgrad.fake_quantize(x, name_of(how, *facts), key)[0]
    return values

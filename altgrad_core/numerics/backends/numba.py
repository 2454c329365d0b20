"""Compiled kernels for the CPU: from tensors, formats and quantizers to plain arrays and numbers, and back."""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from altgrad_core.numerics.backends import reference
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels import arrays, codes, moves, positions, scales
from altgrad_core.numerics.kernels.facts import arithmetic_facts
from altgrad_core.numerics.kernels.passes import (
    NONE,
    address_of,
    as_tensor,
    blocks_for,
    each_scale,
    is_half,
    knows,
    plain,
    rule_for,
    run,
    tensor_amax,
    whole_scale,
)
from altgrad_core.numerics.kernels.threads import with_subnormals
from altgrad_core.numerics.memory import side_by_side
from altgrad_core.numerics.moves import MOST_RUNGS, Moved, Path, Step, fits
from altgrad_core.numerics.overflow import special_beyond
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import Key
from altgrad_core.numerics.tally import Quantized, Tally
from altgrad_core.numerics.tiling import Tiling

PLAIN: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever torch's defaults are
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
TYPES = {
    **dict.fromkeys(("quantize", "encode", "amax", "rung", "position", "spacing", "movement"), FLOATS),
    **dict.fromkeys(("walk", "adam_walk", "stochastic_walk", "update_velocity", "scale"), (torch.float32,)),
    "value": (torch.float64,),
    "decode": (torch.uint8, torch.uint16),
}
BY_ARITHMETIC = ("rung", "position", "value", "spacing", "movement", "walk", "adam_walk", "stochastic_walk")
IN_PLACE = ("walk", "adam_walk", "stochastic_walk", "update_velocity")


def supports(case: Case) -> bool:
    """Whether this backend has a case: on the CPU, the types above, grids and modes with a kernel; amax of tiles of one row."""
    if case.device != "cpu" or case.dtype not in TYPES.get(case.operation, ()):
        return False
    if case.operation in IN_PLACE and not case.is_contiguous:
        return False
    if case.operation in BY_ARITHMETIC:
        return all(arithmetic_facts(grid) is not None for grid in case.grids)
    if case.operation in ("quantize", "encode") and not all(knows(grid, case.rounding) for grid in case.grids):
        return False
    return case.operation == "quantize" or case.tiling.whole or case.tiling.is_of_rows


@with_subnormals
def amax(x: Tensor, tiling: Tiling) -> Tensor:
    """See `ops.amax`."""
    shape = tiling.shape(tuple(x.shape))
    if shape == ():
        return tensor_amax(x)
    result, block = np.zeros(math.prod(shape), np.int32), tiling.block(x.shape[-1])
    if x.numel():
        x = plain(x)
        scales.block_amax_bits(address_of(x), x.numel(), is_half(x), np.array([block, x.shape[-1], 0]), result)
    return torch.from_numpy(result).view(torch.float32).view(shape)


@with_subnormals
def scale(amax: Tensor, how: Quantizer) -> Tensor:
    """See `ops.scale_of`."""
    result = amax.detach().clone(memory_format=torch.contiguous_format)
    if how.scale_rule.kind == "none":
        return result.fill_(1.0)
    if result.numel():
        scales.to_scales(result.view(-1).numpy(), rule_for(result, how, is_given=False))
    return result


@with_subnormals
def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: Key | None = None, out: Tensor | None = None
) -> Quantized:
    """See `ops.quantize`; in one pass, and one more for the amax of a whole tensor, or several for that of tiles."""
    tiling = how.tiling
    if _leaves_specials(how) or (scale is not None and how.nonfinite == "block" and bool(scale.isnan().any())):
        return reference.quantize(x, how, scale=scale, key=key, out=out)
    given_scale, blocks, one = scale, NONE, 1.0
    values = torch.empty_like(x, memory_format=torch.contiguous_format, requires_grad=False) if out is None else out
    direct = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and arithmetic_facts(how.target) is not None)
    source, target = (plain(x), values) if direct else (side_by_side(x.float()), torch.empty(x.shape, **PLAIN))
    if tiling.whole or x.ndim == 0:
        scale, one = whole_scale(source, how) if scale is None else (scale, scale.item())
    elif tiling.is_of_rows and (block := tiling.block(x.shape[-1])) is not None:
        scale = torch.ones(tiling.shape(tuple(x.shape)), **PLAIN) if scale is None else scale
        blocks = blocks_for(source, how, scale, block, is_given=given_scale is not None)
    else:
        scale = _tile_scales(x, how) if scale is None else scale
        each = tiling.spread(scale, tuple(x.shape)).expand(x.shape).contiguous()
        blocks = blocks_for(source, how, each, 1, is_given=True)
    counts = run(source, target, how, one, key if key is None else int(key), blocks=blocks)
    if _must_look_again(how, counts):
        return reference.quantize(x, how, scale=given_scale, key=key, out=out)
    if not direct:
        values.copy_(target)
    return Quantized(values, scale, Tally(x.numel(), as_tensor(counts[0]), *counts[1:]))


@with_subnormals
def encode(x: Tensor, how: Quantizer, *, scale: Tensor, key: int | None, out: Tensor) -> int:
    """See `reference.encode`."""
    if _leaves_specials(how) or (arithmetic_facts(how.target) is not None and not arrays.has_plain_codes(how.target)):
        return reference.encode(x, how, scale=scale, key=key, out=out)
    source = x.float()
    if how.mode.random_bits:
        if how.overflow == "specials":
            return reference.encode(x, how, scale=scale, key=key, out=out)
        source = quantize(source / scale, how, scale=torch.ones((), **PLAIN), key=key).values
        how, scale = Quantizer(how.target, "nearest-even", "none"), torch.ones((), **PLAIN)
    return run(side_by_side(source), out, how, scale.item(), key, codes=True)[3]


@with_subnormals
def decode(codes_: Tensor, format: Format, *, scale: float, out: Tensor) -> None:
    """See `reference.decode`."""
    table = arrays.decode_table(format) * np.float32(scale)
    codes.decode(codes_.contiguous().view(-1).numpy(), table, out.view(-1).numpy())


@with_subnormals
def rung(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.rung`."""
    out = torch.empty(x.shape, dtype=torch.int32, device="cpu")
    x, facts = side_by_side(x.float()), arrays.walk_facts(format)[0]
    positions.nearest_rung(address_of(x), out.view(-1).numpy(), each_scale(scale, x), facts)
    return out


@with_subnormals
def position(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.position`."""
    out = torch.empty(x.shape, dtype=torch.float64, device="cpu")
    x, facts = side_by_side(x.float()), arrays.walk_facts(format)
    positions.position(address_of(x), out.view(-1).numpy(), each_scale(scale, x), *facts)
    return out


@with_subnormals
def value(u: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.value`."""
    out = torch.empty(u.shape, **PLAIN)
    flat = side_by_side(u).view(-1).numpy()
    positions.value_at(flat, out.view(-1).numpy(), each_scale(scale, u), *arrays.walk_facts(format))
    return out


@with_subnormals
def spacing(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.spacing`."""
    out = torch.empty(x.shape, **PLAIN)
    x, facts = side_by_side(x.float()), arrays.walk_facts(format)
    positions.spacing(address_of(x), out.view(-1).numpy(), each_scale(scale, x), *facts)
    return out


@with_subnormals
def movement(before: Tensor, after: Tensor, gradient: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.movement`."""
    counts, facts = np.zeros(4, np.int64), arrays.walk_facts(format)[0]
    weights = [side_by_side(x.float()) for x in (before, after, gradient)]
    addresses = (address_of(x) for x in weights)
    positions.movement(*addresses, after.numel(), each_scale(scale, after), facts, counts)
    return torch.from_numpy(counts)


@with_subnormals
def adam_walk(
    weight: Tensor,
    gradient: Tensor,
    state: MutableMapping[str, Any],
    path: Path,
    step: Step,
    *,
    betas: tuple[float, float],
    eps: float,
) -> Moved:
    """See `walk.adam_walk`."""
    if not fits(gradient, state["exp_avg"], state["exp_avg_sq"], state.get("bit_position")):
        return reference.adam_walk(weight, gradient, state, path, step, betas=betas, eps=eps)
    state["step"] += 1
    count, (beta1, beta2) = float(state["step"]), betas
    root = math.sqrt(1 - beta2**count)  # d = m / (1 - beta1^t) / (sqrt(v) / root + eps)
    factor = float(step.rungs) * root / (1 - beta1**count)
    numbers = (factor, math.inf, float(step.keep), beta1, beta2, 1 - beta1, 1 - beta2, eps * root)
    trail = state.get("bit_position")
    counts = moves.walk(weight, gradient, (state["exp_avg"], state["exp_avg_sq"]), path, numbers=numbers, trail=trail)
    return Moved(counts[1], counts[2], None if trail is None else counts[3])


@with_subnormals
def walk(weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None) -> Moved:
    """See `walk.walk`."""
    if not fits(gradient, trail, *_updated(direction, step)):
        return reference.walk(weight, gradient, direction, path, step, trail=trail)
    numbers = (float(step.rungs), step.bound, float(step.keep), *_momentum(step))
    counts = moves.walk(weight, gradient, (side_by_side(direction.float()),), path, numbers=numbers, trail=trail)
    return Moved(counts[1], counts[2], None if trail is None else counts[3])


@with_subnormals
def stochastic_walk(
    weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None, key: Key
) -> Moved:
    """See `walk.stochastic_walk`."""
    if not fits(gradient, trail, *_updated(direction, step)):
        return reference.stochastic_walk(weight, gradient, direction, path, step, trail=trail, key=key)
    numbers = (float(step.rungs), min(step.bound, MOST_RUNGS), float(step.keep), *_momentum(step))
    along = side_by_side(direction.float())
    counts = moves.stochastic_walk(weight, gradient, along, path, numbers=numbers, trail=trail, key=int(key))
    return Moved(*counts[1:5])


@with_subnormals
def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> float | Tensor:
    """See `walk.update_velocity`."""
    if not fits(gradient, velocity):
        return reference.update_velocity(velocity, gradient, momentum)
    return moves.update_velocity(velocity, gradient, momentum)


def _tile_scales(x: Tensor, how: Quantizer) -> Tensor:
    return scale(reference.amax(x, how.tiling), how)


def _momentum(step: Step) -> tuple[float, ...]:
    return () if step.momentum is None else (step.momentum,)


def _updated(direction: Tensor, step: Step) -> tuple[Tensor, ...]:
    """The direction, if it is a velocity that the walk updates in place."""
    return () if step.momentum is None else (direction,)


def _must_look_again(how: Quantizer, counts: Sequence[int]) -> bool:
    """Whether there were infinities or NaNs of which the kernel does not make what this quantizer wants."""
    if how.nonfinite == "block" and (counts[3] or counts[4]):
        return True
    return how.overflow == "specials" and how.mode.random_bits > 0 and counts[4] > 0


def _leaves_specials(how: Quantizer) -> bool:
    """Whether overflow becomes a special value in a format whose kernel only saturates."""
    return how.overflow == "specials" and _only_saturates(how.target)


@lru_cache(maxsize=256)
def _only_saturates(format: Format) -> bool:
    if not arrays.has_specials(format):
        return False
    signs = {str(special_beyond(format, sign)).removeprefix("-") for sign in (1, -1)}
    return arithmetic_facts(format) is None or len(signs) > 1

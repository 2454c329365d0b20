"""The arithmetic of the compiled kernels in tensor operations under torch.compile, for devices without kernels of their own.

`one_pass` is the arithmetic of `deterministic` and `stochastic` on int32 bits and float32 values, written once: it runs
operation by operation on any device, and on CUDA through torch.compile, which makes 6 to 9 kernels of it. On CUDA it serves
where the Triton backend does not: on ROCm and on old GPUs. Tests run it on the CPU, both ways, and on the meta device. It has
not been run on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from altgrad_core.numerics.backends import reference
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels.facts import NEVER, Arithmetic, arithmetic_facts, float_bits
from altgrad_core.numerics.overflow import overflow_threshold, special_beyond
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import GROUP, MULTIPLIERS, ROUNDS, WEYL, Key
from altgrad_core.numerics.rounding import FRACTION_BITS
from altgrad_core.numerics.scaling import EXPONENT_LIMIT
from altgrad_core.numerics.tally import Quantized, Tally
from altgrad_core.numerics.tiling import Tiling

MAGNITUDE, SIGN, NAN = 0x7FFFFFFF, -0x80000000, 0x7FC00000  # int32 bits; NEVER is infinity
LOW32 = 0xFFFFFFFF


class Side(NamedTuple):
    """What overflow becomes on one side of zero: float32 bits, from a limit on; infinities whatever the limit."""

    special: int
    limit: int | None


class Traits(NamedTuple):
    """All that the arithmetic must know of a quantizer. A side is None where overflow saturates."""

    facts: Arithmetic
    rounding: str
    above: Side | None
    below: Side | None


class Pass(NamedTuple):
    """What `one_pass` gives: the values, of the shape and type of its input, and the counts of a `Tally`."""

    values: Tensor
    amax: Tensor
    overflow: Tensor
    underflow: Tensor
    nan: Tensor
    infinite: Tensor


ROUNDINGS = ("nearest-even", "nearest-away", "toward-zero", "toward-positive", "toward-negative", "stochastic")


def supports(case: Case) -> bool:
    """Whether this backend has a case: off the CPU, rounding to grids that are computed, tiles of one row."""
    fits = case.operation == "quantize" and case.dtype in (torch.float32, torch.bfloat16, torch.float16)
    has_mode = case.rounding in ROUNDINGS and case.nonfinite != "block"
    has_tiles = case.tiling.whole or case.tiling.is_of_rows
    return case.device != "cpu" and fits and has_mode and has_tiles and all(map(arithmetic_facts, case.grids))


def compiles(x: Tensor) -> bool:
    """Whether the pass over this tensor is compiled: on CUDA, where there is a Triton to compile with."""
    return x.is_cuda and has_triton()


def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: Key | None = None, out: Tensor | None = None
) -> Quantized:
    """As `reference.quantize`. Nothing waits for the device: no scale, count or key passes through the host."""
    if x.numel() == 0:
        return reference.quantize(x, how, scale=scale, key=key, out=out)
    x, given_scale = x.detach(), scale
    if scale is None and how.scale_rule.kind == "none":
        scale = torch.ones((), dtype=torch.float32, device=x.device)
    elif scale is None:
        scale = reference.scale(reference.amax(x, how.tiling), how)
    flat, factor = _side_by_side(x, _on_device(scale, x), how.tiling)
    # The division is made here, where it is that of IEEE 754: Triton's own "/" is only near it. Times the inverse of a
    # power of two is the same number, and as a product is exact or compared as bits, contracting it changes nothing.
    scaled = None if _is_power_of_two(scale, how, is_given=given_scale is not None) else flat.float() / factor
    stream = torch.full((), key, dtype=torch.int64, device=x.device) if isinstance(key, int) else key
    run = _compiled(_traits(how), x.dtype, flat.ndim, factor.ndim, scaled is None) if compiles(x) else one_pass
    done = run(flat, factor, scaled, stream, _traits(how))
    values = done.values.view(x.shape)
    return Quantized(values if out is None else out.copy_(values), scale, Tally(x.numel(), *done[1:]))


def one_pass(x: Tensor, factor: Tensor, scaled: Tensor | None, key: Tensor | None, traits: Traits) -> Pass:
    """Round x / factor, times factor, and count.

    Args:
        x: of shape (n,) or (lines, width).
        factor: the scales, float32, broadcasting to the shape of `x`.
        scaled: x / factor; None: every factor is a power of two, 2 ** -126 to 2 ** 126.
        key: int64 of shape (), of the stream of random words.
        traits: of the quantizer.
    """
    facts = traits.facts
    wide = x.to(torch.float32)
    bits = wide.view(torch.int32)
    raw, sign, negative = bits & MAGNITUDE, bits & SIGN, bits < 0
    if scaled is None:
        scaled = wide * ((254 << 23) - factor.view(torch.int32)).view(torch.float32)
    size = scaled.view(torch.int32) & MAGNITUDE
    clipped = size.clamp(max=facts.largest)
    if traits.rounding == "stochastic":
        assert key is not None
        rounded = _by_chance(clipped, negative, _words(key, x.numel()).view(x.shape), facts)
    else:
        rounded = (_cut if facts.is_bits else _added)(clipped, negative, facts, traits.rounding)
    for side, mine in ((traits.above, ~negative), (traits.below, negative)):
        if side is not None:
            leaves = raw == NEVER if side.limit is None else (size >= side.limit) | (raw == NEVER)
            rounded = torch.where(leaves & mine, side.special, rounded)
    product = (rounded.view(torch.float32) * factor).view(torch.int32)
    signed = product | (sign if facts.keeps_negative_zero else torch.where(rounded > 0, sign, 0))
    is_nan = raw > NEVER
    return Pass(
        values=torch.where(is_nan, x, signed.view(torch.float32).to(x.dtype)),
        amax=torch.where(raw < NEVER, raw, 0).amax().view(torch.float32),
        overflow=((size > facts.largest) & ~is_nan).sum(),
        underflow=((rounded == 0) & (raw > 0)).sum(),
        nan=is_nan.sum(),
        infinite=(raw == NEVER).sum(),
    )


def _cut(clipped: Tensor, negative: Tensor, facts: Arithmetic, rounding: str) -> Tensor:
    """Magnitudes rounded by cutting their last bits off, bits in and out."""
    cell = 1 << facts.shift
    if rounding == "nearest-even":
        moved = clipped + (cell // 2 - 1) + ((clipped >> facts.shift) & 1)
    elif rounding == "nearest-away":
        moved = clipped + cell // 2
    elif rounding == "toward-zero":
        moved = clipped
    else:
        moved = clipped + _grows(negative, rounding).to(torch.int32) * (cell - 1)
    return moved & -cell


def _added(clipped: Tensor, negative: Tensor, facts: Arithmetic, rounding: str) -> Tensor:
    """Magnitudes rounded by adding 1.5 * 2 ** 23 cells and taking them away again (see `deterministic`)."""
    binade = clipped.clamp(min=facts.low) & NEVER
    if rounding == "nearest-even" and facts.is_powers:  # rungs alternate where significands do not: a tie is moved
        value = (clipped - (((binade >> 23) ^ (facts.low >> 23)) & 1)).view(torch.float32)
    else:
        value = clipped.view(torch.float32)
    magic = (binade + ((facts.shift << 23) + 0x400000)).view(torch.float32)
    cell = (binade - ((23 - facts.shift) << 23)).view(torch.float32)
    near = (value + magic) - magic
    if rounding == "nearest-away":
        near = near + torch.where(value - near == cell * 0.5, cell, 0.0)
    elif rounding == "toward-zero":
        near = near - torch.where(near > value, cell, 0.0)
    elif rounding != "nearest-even":
        grows = _grows(negative, rounding)
        near = near - torch.where((near > value) & ~grows, cell, 0.0) + torch.where((near < value) & grows, cell, 0.0)
    return near.view(torch.int32)


def _grows(negative: Tensor, rounding: str) -> Tensor:
    """Where a directed mode rounds away from zero."""
    return ~negative if rounding == "toward-positive" else negative


def _by_chance(clipped: Tensor, negative: Tensor, words: Tensor, facts: Arithmetic) -> Tensor:
    """Magnitudes rounded by `words` (see `stochastic`), bits in and out."""
    turned = words ^ torch.where(negative, LOW32, 0)
    rounded = (clipped + (turned >> (32 - facts.shift)).to(torch.int32)) & -(1 << facts.shift)
    if facts.is_bits:
        return rounded
    first_normal = min(facts.low, facts.largest)
    near_zero = clipped.clamp(max=first_normal).view(torch.float32)
    near_zero = torch.where(negative, -near_zero, near_zero) * (1.0 / facts.quantum)
    # Two products: their factors together may be too large for float32.
    position = torch.floor(near_zero * 2.0**FRACTION_BITS).to(torch.int64)
    rung = (position + (words >> (32 - FRACTION_BITS))) >> FRACTION_BITS
    by_rung = (rung.abs().to(torch.float32) * facts.quantum).view(torch.int32)
    return torch.where(clipped >= first_normal, rounded, by_rung)


def _words(key: Tensor, count: int) -> Tensor:
    """As `random.philox_words`, every element for itself: int64 of shape (count,)."""
    element = torch.arange(count, dtype=torch.int64, device=key.device)
    counter = element // GROUP * (GROUP // 4) + element % (GROUP // 4)
    a, b, c, d = counter & LOW32, counter >> 32, torch.zeros_like(counter), torch.zeros_like(counter)
    low_key, high_key = key & LOW32, key >> 32
    for _ in range(ROUNDS):
        first, third = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b = ((third >> 32) & LOW32) ^ b ^ low_key, third & LOW32
        c, d = ((first >> 32) & LOW32) ^ d ^ high_key, first & LOW32
        low_key, high_key = (low_key + WEYL[0]) & LOW32, (high_key + WEYL[1]) & LOW32
    word = element % GROUP // (GROUP // 4)
    return torch.where(word < 2, torch.where(word == 0, a, b), torch.where(word == 2, c, d))


@lru_cache(maxsize=256)
def _compiled(traits: Traits, *signature: object) -> Callable[..., Pass]:
    """`one_pass` for these traits through torch.compile, for arguments of one signature: their types and dimensions.

    Dynamo counts what it compiled by code object, however often that is wrapped, and gives up after a few: so each of
    these gets a code object of its own. Sizes and keys compile nothing again.
    """

    def quantize_pass(x: Tensor, factor: Tensor, scaled: Tensor | None, key: Tensor | None, _: Traits) -> Pass:
        return one_pass(x, factor, scaled, key, traits)

    code, closure = quantize_pass.__code__.replace(), quantize_pass.__closure__
    return torch.compile(FunctionType(code, globals(), closure=closure), dynamic=True, fullgraph=True)


def _traits(how: Quantizer) -> Traits:
    return _traits_of(how.target, how.rounding, how.overflow)


@lru_cache(maxsize=256)
def _traits_of(format: Format, rounding: str, overflow: str) -> Traits:
    facts = arithmetic_facts(format)
    assert facts is not None, "ask `supports` first"
    above, below = (_side(format, sign, rounding) if overflow == "specials" else None for sign in (1, -1))
    return Traits(facts, rounding, above, below)


def _side(format: Format, sign: int, rounding: str) -> Side | None:
    special = special_beyond(format, sign)
    if special is None:
        return None
    limit, leaving = None, overflow_threshold(format, sign, rounding)
    if leaving is not None:
        threshold, itself = leaving
        limit = float_bits(threshold) + (not itself) if threshold < 2.0**128 else NEVER
    return Side(NAN if math.isnan(special) else NEVER, limit)


def _on_device(scale: Tensor, x: Tensor) -> Tensor:
    """The scales as float32 beside `x`: a number on the CPU would be divided by as multiplying by its reciprocal."""
    if scale.device != x.device and scale.device.type == "cpu" and scale.ndim == 0:
        return torch.full((), float(scale), dtype=torch.float32, device=x.device)
    return scale.detach().to(x.device, torch.float32)


def _side_by_side(x: Tensor, scale: Tensor, tiling: Tiling) -> tuple[Tensor, Tensor]:
    """`x` flat and its one scale; or as lines, and a scale for each or one for each element.

    `.data` is not a view to autograd: for a view Dynamo compiles again whenever the shape of what it is a view of changes.
    """
    if scale.ndim == 0:
        return x.reshape(-1).data, scale.data
    width = x.shape[-1]
    block = tiling.block(width)
    if block is not None and width % block == 0 and scale.shape == (*x.shape[:-1], width // block):
        return x.reshape(-1, block).data, scale.reshape(-1, 1).data
    return x.reshape(-1, width).data, tiling.spread(scale, tuple(x.shape)).expand(x.shape).reshape(-1, width).data


def _is_power_of_two(scale: Tensor, how: Quantizer, *, is_given: bool) -> bool:
    """Whether all scales are known to be powers of two, without waiting for a device."""
    rule = how.scale_rule
    if not is_given:
        return rule.kind == "none" or (rule.rounding != "exact" and rule.scale_format == "fp32")
    if scale.device.type != "cpu" or scale.ndim:
        return False
    significand, exponent = math.frexp(float(scale))
    return significand == 0.5 and abs(exponent - 1) <= EXPONENT_LIMIT

"""Scales from largest magnitudes, as `numerics.scale` defines them, and the amax of a whole tensor."""

from __future__ import annotations

import triton
import triton.language as tl

from altgrad_core.numerics.scaling import E4M3, EXPONENT_LIMIT
from altgrad_core.numerics.triton.bits import INFINITY, MAGNITUDE, as_bits, as_float, bits_of

LIMIT = tl.constexpr(2.0**EXPONENT_LIMIT)
LEAST = tl.constexpr(2.0**-EXPONENT_LIMIT)
E4M3_LEAST = tl.constexpr(E4M3.smallest_positive)
E4M3_MOST = tl.constexpr(E4M3.largest)
WHOLE_NUMBERS = tl.constexpr(1.5 * 2.0**52)  # adding it to a small float64 rounds that to a whole number, ties to even


@triton.jit
def scale_of(amax, top, R: tl.constexpr):
    """The scale for a largest magnitude, float32; `top`: that of the whole tensor, for two levels."""
    counted = tl.where(amax > 0.0, amax, 1.0)
    if R.kind == "power":
        scale = power_of_two(counted, R)
    elif R.kind == "exact":
        scale = quotient(counted, R)
    else:
        scale = two_level(counted, tl.where(top > 0.0, top, 1.0), R)
    return scale


@triton.jit
def power_of_two(amax, R: tl.constexpr):
    """amax over the largest magnitude, as a power of two within the limits of its exponent."""
    is_tiny = as_bits(amax) < 0x00800000
    bits = as_bits(tl.where(is_tiny, amax * 16777216.0, amax))
    power = (bits >> 23) - tl.where(is_tiny, 24, 0) + (R.margin - R.exponent)
    if R.goes_up:
        power = power + tl.where((bits & 0x7FFFFF) > R.significand, 1, 0)
    power = tl.minimum(tl.maximum(power, -R.limit), R.limit)
    scale = (power + 127) << 23
    return as_float(tl.where(scale > 0, scale, 0x00400000))  # 2 ** -127 is subnormal


@triton.jit
def quotient(amax, R: tl.constexpr):
    """amax over the largest magnitude, times a power of two, rounded once and kept within limits."""
    exact = amax.to(tl.float64) / R.largest * (2.0**R.margin)
    return within_limits(exact)


@triton.jit
def within_limits(exact):
    """A float64 as a float32 scale."""
    return tl.minimum(tl.maximum(exact.to(tl.float32), LEAST), LIMIT)


@triton.jit
def two_level(amax, top, R: tl.constexpr):
    """A float32 scale of the tensor, whose amax is `top`, times an E4M3 value of each tile, as float32."""
    if R.is_exact:
        whole = quotient(top, R).to(tl.float64)
        is_inside = (whole > LEAST) & (whole < LIMIT)
        margin: tl.constexpr = 2.0**R.margin
        divisor = tl.where(is_inside, top.to(tl.float64), whole * R.own * (E4M3_MOST / margin))
        stored = to_e4m3(amax.to(tl.float64) * E4M3_MOST / divisor, False)
    else:
        whole = power_of_two(top, R).to(tl.float64)
        stored = to_e4m3(amax.to(tl.float64) * (2.0**R.margin) / (whole * R.own), True)
    return within_limits(stored * whole)


@triton.jit
def to_e4m3(value, GOES_UP: tl.constexpr):
    """The E4M3 value at or above a positive float64, or the nearest one, ties to even; never 0."""
    value = tl.minimum(tl.maximum(value, E4M3_LEAST), E4M3_MOST)
    binade = tl.maximum((value.to(tl.int64, bitcast=True) >> 52) - 1023, -6) - 3
    quantum = ((binade + 1023) << 52).to(tl.float64, bitcast=True)
    steps = value / quantum
    if GOES_UP:
        steps = tl.ceil(steps)
    else:
        steps = (steps + WHOLE_NUMBERS) - WHOLE_NUMBERS
    return steps * quantum


@triton.jit
def inverse_of(factor):
    """1 / factor where that is a normal power of two; else 0."""
    bits = as_bits(factor)
    is_power = ((bits & 0x7FFFFF) == 0) & (bits > 0) & (bits < 0x7F000000)
    return as_float(tl.where(is_power, (254 << 23) - bits, 0))


@triton.jit
def amax_pass(x, counts, n, BIG: tl.constexpr, BLOCK: tl.constexpr):
    """The bits of the largest finite magnitude into `counts[0]`; 1 into `counts[5]` where some are not finite.

    Args:
        x: see `bits.bits_of`, shape (n,).
        counts: int64, zero.
    """
    start = tl.program_id(0)
    if BIG:
        start = start.to(tl.int64)
    at = start * BLOCK + tl.arange(0, BLOCK)
    raw = bits_of(tl.load(x + at, mask=at < n, other=0)) & MAGNITUDE
    top = tl.max(raw, axis=0)
    if top >= INFINITY:
        tl.atomic_max(counts + 5, 1)
        top = tl.max(tl.where(raw < INFINITY, raw, 0), axis=0)
    tl.atomic_max(counts, top.to(tl.int64), mask=top > 0, sem="relaxed")


@triton.jit
def scale_pass(amax, out, n, R: tl.constexpr, BLOCK: tl.constexpr):
    """The scales for the largest magnitudes of tiles; both float32 of shape (n,). Two levels: not for these."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    result = tl.load(amax + at, mask=at < n, other=0.0)
    tl.store(out + at, scale_of(result, result, R), mask=at < n)

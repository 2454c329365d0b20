"""The CPU fast path: one pass over the tensor, compiled by Numba once per machine and cached on disk.

Every kernel works on float32 bits. Integer comparisons and counters let the loops vectorize without reordering any
floating-point operation, so the results are those of the reference, bit for bit. NaN is an integer above infinity.
"""

from __future__ import annotations

import numba
import numpy as np

from altgrad_core.numerics.kernels.facts import NEVER
from altgrad_core.numerics.random import MULTIPLIERS, ROUNDS, WEYL

BLOCK = 4096  # elements between two sums of the 32-bit counters


def _compiler():
    """The compiler, with a cache on disk wherever a place for one can be written to."""
    if numba.config.DISABLE_JIT:
        raise RuntimeError("its compiler is switched off by NUMBA_DISABLE_JIT")
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    try:
        numba.njit(cache=True, **options)(_compiler)  # looks for the place; nothing is compiled
    except RuntimeError:
        return numba.njit(**options)
    return numba.njit(cache=True, **options)


_compile = _compiler()
_MAGNITUDE, _SIGN, _INFINITY = np.int32(0x7FFFFFFF), np.int32(-0x80000000), np.int32(NEVER)
_ZERO, _ONE = np.int32(0), np.int32(1)
_M0, _M1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_W0, _W1 = np.uint32(WEYL[0]), np.uint32(WEYL[1])


@_compile
def as_float(bits):
    """The float32 with these bits."""
    return np.int32(bits).view(np.float32)


@_compile
def as_bits(value):
    """The bits of a float32."""
    return np.float32(value).view(np.int32)


@_compile
def amax_bits(x):
    """The float32 bits of the largest finite magnitude in `x`, float32 of shape (n,); 0 where there is none."""
    bits = x.view(np.int32)
    largest = np.int32(0)
    for i in range(bits.size):
        magnitude = bits[i] & _MAGNITUDE
        largest = max(largest, magnitude if magnitude < _INFINITY else np.int32(0))
    return largest


@_compile
def quantize_nearest(x, out, scale, inverse, divides, facts, limit, beyond):
    """Round x / scale to the nearest rung, ties to even, times scale, into `out`.

    Args:
        x, out: float32, shape (n,), may be the same.
        inverse, divides: x * inverse replaces x / scale where `divides` is False (a power of two: the same number).
        facts: `kernels.facts.Facts`.
        limit, beyond: scaled magnitudes whose bits are at least `limit` become the bits `beyond`.

    Returns:
        (amax bits, overflows, underflows, NaNs, infinities), int64 counts.
    """
    amax = _ZERO
    overflows, underflows, nans, infinities = 0, 0, 0, 0
    for start in range(0, x.size, BLOCK):
        stop = start + BLOCK
        top, over, under, nan, infinite = _nearest_block(
            x[start:stop], out[start:stop], scale, inverse, divides, facts, limit, beyond
        )
        amax = max(amax, top)
        overflows += over
        underflows += under
        nans += nan
        infinities += infinite
    return amax, overflows, underflows, nans, infinities


@_compile
def _nearest_block(x, out, scale, inverse, divides, facts, limit, beyond):
    shift, offset, normal, largest, magic = (
        facts.shift,
        facts.offset,
        facts.normal_bits,
        facts.largest_bits,
        facts.magic,
    )
    negative_zero = facts.keeps_negative_zero
    shift32, normal32, largest32 = np.int32(shift), np.int32(normal), np.int32(largest)
    limit32, beyond32 = np.int32(limit), np.int32(beyond)
    odd = np.int32(offset & 1)
    half = np.int32((1 << shift) >> 1) - _ONE
    keep = ~np.int32((1 << shift) - 1)
    magic32, scale32, inverse32 = np.float32(magic), np.float32(scale), np.float32(inverse)
    zero_sign = _SIGN if negative_zero else _ZERO
    bits_in, bits_out = x.view(np.int32), out.view(np.int32)
    amax, over, under, nan, infinite = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    for i in range(bits_in.size):
        bits = bits_in[i]
        raw = bits & _MAGNITUDE
        sign = bits & _SIGN
        amax = max(amax, raw if raw < _INFINITY else _ZERO)
        value = as_float(raw)
        magnitude = as_bits(value / scale32 if divides else value * inverse32)
        clipped = min(magnitude, largest32)
        even = as_bits((as_float(clipped) + magic32) - magic32)
        normal_even = (clipped + half + (((clipped >> shift32) ^ odd) & _ONE)) & keep
        rounded = normal_even if clipped >= normal32 else even
        rounded = beyond32 if magnitude >= limit32 else rounded
        result = as_bits(as_float(rounded) * scale32)
        result = result | (sign if rounded > _ZERO else sign & zero_sign)
        bits_out[i] = bits if raw > _INFINITY else result
        over += _ONE if (magnitude > largest32) & (raw <= _INFINITY) else _ZERO
        under += _ONE if (rounded == _ZERO) & (raw > _ZERO) else _ZERO  # a NaN never rounds to 0: it is clipped first
        nan += _ONE if raw > _INFINITY else _ZERO
        infinite += _ONE if raw == _INFINITY else _ZERO
    return amax, over, under, nan, infinite


@_compile
def quantize_stochastic(x, out, scale, inverse, divides, facts, key):
    """As `quantize_nearest`, saturating, with each element rounded up by chance; `key` names the random stream."""
    amax = _ZERO
    overflows, underflows, nans, infinities = 0, 0, 0, 0
    words = np.empty(BLOCK, np.uint32)
    for start in range(0, x.size, BLOCK):
        stop = start + BLOCK
        philox(key, start // 4, words)
        top, over, under, nan, infinite = _stochastic_block(
            x[start:stop], out[start:stop], scale, inverse, divides, facts, words
        )
        amax = max(amax, top)
        overflows += over
        underflows += under
        nans += nan
        infinities += infinite
    return amax, overflows, underflows, nans, infinities


@_compile
def _stochastic_block(x, out, scale, inverse, divides, facts, words):
    shift, normal, largest, quantum, negative_zero = (
        facts.shift,
        facts.normal_bits,
        facts.largest_bits,
        facts.quantum,
        facts.keeps_negative_zero,
    )
    shift32, normal32, largest32 = np.int32(shift), np.int32(normal), np.int32(largest)
    below_rung, to_24_bits = np.int32((1 << shift) - 1), np.int32(24 - shift)
    scale32, inverse32 = np.float32(scale), np.float32(inverse)
    per_quantum, one = 1.0 / quantum, np.int32(1 << 24)
    zero_sign = _SIGN if negative_zero else _ZERO
    bits_in, bits_out = x.view(np.int32), out.view(np.int32)
    amax, over, under, nan, infinite = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    for i in range(bits_in.size):
        bits = bits_in[i]
        raw = bits & _MAGNITUDE
        sign = bits & _SIGN
        amax = max(amax, raw if raw < _INFINITY else _ZERO)
        value = as_float(raw)
        magnitude = as_bits(value / scale32 if divides else value * inverse32)
        clipped = min(magnitude, largest32)
        is_normal = clipped >= normal32
        position = 0.0 if is_normal else np.float64(as_float(clipped)) * per_quantum
        rung = np.int32(position)
        part = (position - rung) * 16777216.0
        down = np.int32(part)
        up = down + (_ONE if part > down else _ZERO)
        exact = (clipped & below_rung) << to_24_bits
        draw = np.int32(words[i] >> np.uint32(8))
        away_up = draw + (exact if is_normal else down) >= one
        away_down = draw < (exact if is_normal else up)
        step = _ONE if (away_up if bits >= _ZERO else away_down) else _ZERO
        high = (clipped & ~below_rung) + (step << shift32)
        low = as_bits(np.float32((rung + step) * quantum))
        rounded = high if is_normal else low
        result = as_bits(as_float(rounded) * scale32)
        result = result | (sign if rounded > _ZERO else sign & zero_sign)
        bits_out[i] = bits if raw > _INFINITY else result
        over += _ONE if (magnitude > largest32) & (raw <= _INFINITY) else _ZERO
        under += _ONE if (rounded == _ZERO) & (raw > _ZERO) else _ZERO
        nan += _ONE if raw > _INFINITY else _ZERO
        infinite += _ONE if raw == _INFINITY else _ZERO
    return amax, over, under, nan, infinite


@_compile
def philox(key, counter, words):
    """Words of Philox 4x32 into `words`, uint32 of shape (4 n,): those of `counter` and the n - 1 after it."""
    first_low, first_high = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    for n in range(words.size // 4):
        low, high = first_low, first_high
        a, b = np.uint32((counter + n) & 0xFFFFFFFF), np.uint32((counter + n) >> 32)
        c, d = np.uint32(0), np.uint32(0)
        for _ in range(ROUNDS):
            first, third = _M0 * np.uint64(a), _M1 * np.uint64(c)
            a, c = np.uint32(third >> np.uint64(32)) ^ b ^ low, np.uint32(first >> np.uint64(32)) ^ d ^ high
            b, d = np.uint32(third), np.uint32(first)
            low, high = np.uint32(low + _W0), np.uint32(high + _W1)
        words[4 * n], words[4 * n + 1], words[4 * n + 2], words[4 * n + 3] = a, b, c, d


@_compile
def nearest_rung(x, out, scale, inverse, divides, facts):
    """The rung number nearest to x / scale, ties to even, into `out`, int32 of shape (n,); NaN gives rung 0."""
    shift, offset, normal, largest, magic = (
        facts.shift,
        facts.offset,
        facts.normal_bits,
        facts.largest_bits,
        facts.magic,
    )
    shift32, normal32, largest32 = np.int32(shift), np.int32(normal), np.int32(largest)
    odd, offset32 = np.int32(offset & 1), np.int32(offset)
    half = np.int32((1 << shift) >> 1) - np.int32(1)
    magic32, scale32, inverse32 = np.float32(magic), np.float32(scale), np.float32(inverse)
    magic_bits = as_bits(magic32)
    bits_in = x.view(np.int32)
    for i in range(x.size):
        bits = bits_in[i]
        raw = bits & _MAGNITUDE
        value = as_float(raw)
        scaled = value / scale32 if divides else value * inverse32
        clipped = min(as_bits(scaled), largest32)
        low = as_bits(as_float(clipped) + magic32) - magic_bits
        high = ((clipped + half + (((clipped >> shift32) ^ odd) & np.int32(1))) >> shift32) - offset32
        rung = high if clipped >= normal32 else low
        rung = np.int32(0) if raw > _INFINITY else rung
        out[i] = rung if bits >= 0 else -rung


@_compile
def position(x, out, scale, inverse, divides, facts):
    """The rung position of x / scale, interpolated and continued beyond the ends, into `out`, float64 of shape (n,)."""
    shift, offset, normal, largest, top = (
        facts.shift,
        facts.offset,
        facts.normal_bits,
        facts.largest_bits,
        facts.top_rung,
    )
    quantum, gap = facts.quantum, facts.last_gap
    scale32, inverse32 = np.float32(scale), np.float32(inverse)
    normal32, largest32 = np.int32(normal), np.int32(largest)
    second = np.float64(as_float(largest)) - gap
    per_rung = 1.0 / np.float64(1 << shift)
    bits_in = x.view(np.int32)
    for i in range(x.size):
        bits = bits_in[i]
        value = as_float(bits & _MAGNITUDE)
        scaled = np.float32(value / scale32 if divides else value * inverse32)
        magnitude = as_bits(scaled)
        inner = magnitude * per_rung - offset if magnitude >= normal32 else np.float64(scaled) / quantum
        outer = (top - 1) + (np.float64(scaled) - second) / gap
        u = outer if magnitude > largest32 else inner
        out[i] = u if bits >= 0 else -u


@_compile
def value_at(u, out, scale, facts):
    """The inverse of `position`: scale times the value at rung position `u`, float64, into `out`, float32."""
    shift, offset, normal, top, quantum = facts.shift, facts.offset, facts.normal_bits, facts.top_rung, facts.quantum
    scale64 = np.float64(np.float32(scale))
    first_normal = np.float64((normal >> shift) - offset) if normal < NEVER else np.inf
    last_cell, per_binade = np.float64(top - 1), 1.0 / np.float64(1 << (23 - shift))
    for i in range(u.size):
        a = abs(u[i])
        if a >= first_normal:
            cell = np.int32(min(a, last_cell))
            low = np.float64(as_float((cell + offset) << shift))
            binade = np.float64(as_float(((cell + offset) << shift) & _INFINITY))
            value = low + (a - cell) * (binade * per_binade)
        else:
            value = a * quantum
        value = value * scale64
        out[i] = np.float32(value if u[i] >= 0 else -value)

"""Rung numbers and positions on an eXmY grid, and the values at a position."""

from __future__ import annotations

import numpy as np

from altgrad_core.numerics.kernels.bits import INFINITY, MAGNITUDE, ONE, ZERO, F, I, as_bits, as_float, compiled


@compiled
def nearest_rung(x, out, scales, facts):
    """The rung number nearest to x / scale, ties to even, into `out`, int32 of shape (n,); NaN gives rung 0.

    Args:
        x: int32 bits of float32, shape (n,). scales: float32, shape (1,) or (n,).
        facts: int32: low, largest, shift, offset.
    """
    low, largest, shift, offset = facts[0], facts[1], facts[2], facts[3]
    half = I(I(I(ONE << shift) >> ONE) - ONE)
    magic_bits = I(I(low - I(I(I(23) - shift) << I(23))) + I(0x0BC00000))
    step = 0 if scales.size == 1 else 1
    parity = I(offset & ONE)
    for i in range(x.size):
        bits = x[i]
        raw = I(bits & MAGNITUDE)
        scaled = as_bits(as_float(raw) / scales[i * step])
        clipped = scaled if scaled < largest else largest
        near_zero = I(as_bits(F(as_float(clipped) + as_float(magic_bits))) - magic_bits)
        odd = I(I(I(clipped >> shift) ^ parity) & ONE)
        normal = I(I(I(I(clipped + half) + odd) >> shift) - offset)
        rung = normal if clipped >= low else near_zero
        rung = ZERO if raw > INFINITY else rung
        out[i] = rung if bits >= ZERO else I(-rung)


@compiled
def position(x, out, scales, facts, quantum):
    """The rung position of x / scale, interpolated and continued beyond the ends, into `out`, float64 of shape (n,).

    Args:
        x, scales, facts: as `nearest_rung`, and the number of the last rung. quantum: the smallest positive value.
    """
    low, largest, shift, offset, top = facts[0], facts[1], facts[2], facts[3], facts[4]
    gap = np.float64(as_float(largest)) - np.float64(value_of(I(top - ONE), low, shift, offset, quantum))
    second = np.float64(as_float(largest)) - gap
    per_rung, per_quantum = 1.0 / np.float64(ONE << shift), 1.0 / np.float64(quantum)
    step = 0 if scales.size == 1 else 1
    for i in range(x.size):
        bits = x[i]
        scaled = F(as_float(I(bits & MAGNITUDE)) / scales[i * step])
        magnitude = as_bits(scaled)
        inner = magnitude * per_rung - offset if magnitude >= low else np.float64(scaled) * per_quantum
        outer = (top - 1) + (np.float64(scaled) - second) / gap
        u = outer if magnitude > largest else inner
        out[i] = u if bits >= 0 else -u


@compiled
def value_of(rung, low, shift, offset, quantum):
    """The value of a rung that is not negative, float32."""
    normal = as_float(I(I(rung + offset) << shift))
    near_zero = F(F(rung) * quantum)
    return normal if rung >= I(I(low >> shift) - offset) else near_zero


@compiled
def value_at(u, out, scales, facts, quantum):
    """The inverse of `position`: scale times the value at rung position `u`, float64, into `out`, float32."""
    low, shift, offset, top = facts[0], facts[2], facts[3], facts[4]
    first_normal = np.float64(I(low >> shift) - offset) if low < facts[1] else np.inf
    last_cell, per_binade = np.float64(top - 1), 1.0 / np.float64(ONE << I(I(23) - shift))
    step = 0 if scales.size == 1 else 1
    for i in range(u.size):
        a = abs(u[i])
        if a >= first_normal:
            cell = I(min(a, last_cell))
            bits = I(I(cell + offset) << shift)
            low_end = np.float64(as_float(bits))
            width = np.float64(as_float(I(bits & INFINITY))) * per_binade
            value = low_end + (a - cell) * width
        else:
            value = a * np.float64(quantum)
        value = value * np.float64(scales[i * step])
        out[i] = F(value if u[i] >= 0 else -value)

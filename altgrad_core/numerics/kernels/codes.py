"""Codes back to values."""

from __future__ import annotations

from altgrad_core.numerics.kernels.bits import compiled


@compiled
def decode(codes, table, out):
    """table[code] of every code into `out`, float32; codes uint8 or uint16, all of them within the table."""
    for i in range(codes.size):
        out[i] = table[codes[i]]

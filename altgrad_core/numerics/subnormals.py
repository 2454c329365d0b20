"""Whether this thread flushes subnormal numbers to zero. The mode is one of each thread, and any library may set it."""

from __future__ import annotations

_SMALLEST_NORMAL, _SUBNORMAL, _HALF, _TWO = 2.0**-1022, 2.0**-1060, 0.5, 2.0  # names, which the compiler does not fold


def flushes_subnormals() -> bool:
    """Whether arithmetic of this thread takes, or gives, zero for a subnormal number."""
    return _SMALLEST_NORMAL * _HALF == 0.0 or _SUBNORMAL * _TWO == 0.0


def set_flushing(on: bool) -> None:
    """Set the mode of this thread."""
    import torch

    torch.set_flush_denormal(on)

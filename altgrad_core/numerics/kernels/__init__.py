"""Fast paths that equal the reference bit for bit, and the choice between the two.

`supports` says whether a fast path takes a tensor; the functions beside it then do the work. Nothing here decides
what a number means: that is `altgrad_core.numerics.reference`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from altgrad_core.numerics.kernels.facts import arithmetic_facts

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.format import Format
    from altgrad_core.numerics.quantizer import Quantizer
    from altgrad_core.numerics.tally import Quantized


def supports(x: Tensor, format: Format, rounding: str = "nearest-even") -> bool:
    """Whether the compiled CPU path takes this tensor, format and rounding."""
    import torch

    fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return fits and not format.is_identity and (cpu := _compiled()) is not None and cpu.knows(format, rounding)


def decodes(codes: Tensor, format: Format) -> bool:
    """Whether the compiled CPU path decodes these codes."""
    import torch

    fits = codes.device.type == "cpu" and codes.dtype in (torch.uint8, torch.uint16)
    return fits and not format.is_identity and _compiled() is not None


def walks(w: Tensor, format: Format) -> bool:
    """Whether the compiled CPU path finds rungs and positions of this tensor."""
    return supports(w, format) and is_arithmetic(format)


@lru_cache(maxsize=256)
def is_arithmetic(format: Format) -> bool:
    """Whether positions on the grid of this format are computed, not looked up."""
    return arithmetic_facts(format) is not None


def moves(w: Tensor) -> bool:
    """Whether the compiled CPU path moves this weight, in place."""
    import torch

    fits = w.device.type == "cpu" and w.dtype == torch.float32 and w.is_contiguous()
    return fits and _compiled() is not None


def amax(x: Tensor, block: int | None = None) -> Tensor:
    """As `reference.finite_amax`."""
    result: Tensor = _cpu().amax(x, block)
    return result


def scale_of(amax: Tensor, how: Quantizer) -> Tensor:
    """As `scaling.scale_for`."""
    result: Tensor = _cpu().scale_of(amax, how)
    return result


def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: int | None = None, out: Tensor | None = None
) -> Quantized:
    """As `reference.quantize`, in one pass; the amax of a whole tensor takes one more."""
    result: Quantized = _cpu().quantize(x, how, scale=scale, key=key, out=out)
    return result


def encode(x: Tensor, how: Quantizer, *, scale: Tensor, key: int | None, out: Tensor) -> int:
    """As `reference.encode`."""
    return int(_cpu().encode(x, how, scale=scale, key=key, out=out))


def decode(codes: Tensor, format: Format, *, scale: float, out: Tensor) -> None:
    """As `reference.decode`."""
    _cpu().decode(codes, format, scale=scale, out=out)


def nearest_rung(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """The number of the rung nearest to x / scale, int32, of the shape of `x`."""
    result: Tensor = _cpu().nearest_rung(x, format, scale=scale)
    return result


def position(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """The rung position of x / scale, float64, of the shape of `x`."""
    result: Tensor = _cpu().position(x, format, scale=scale)
    return result


def value_at(u: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """Scale times the value at rung position `u` (float64), float32, of the shape of `u`."""
    result: Tensor = _cpu().value_at(u, format, scale=scale)
    return result


def spacing(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """As `Geometry.spacing`."""
    result: Tensor = _cpu().spacing(x, format, scale=scale)
    return result


def walk(weight: Tensor, gradient: Tensor, sources: Sequence[Tensor], **facts: Any) -> list[int]:
    """See `cpu_moves.walk`."""
    from altgrad_core.numerics.kernels import cpu_moves

    return cpu_moves.walk(weight, gradient, sources, **facts)


def hop(weight: Tensor, gradient: Tensor, direction: Tensor, **facts: Any) -> list[int]:
    """See `cpu_moves.hop`."""
    from altgrad_core.numerics.kernels import cpu_moves

    return cpu_moves.hop(weight, gradient, direction, **facts)


def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> float:
    """See `cpu_moves.update_velocity`."""
    from altgrad_core.numerics.kernels import cpu_moves

    return cpu_moves.update_velocity(velocity, gradient, momentum)


@lru_cache(maxsize=1)
def _compiled() -> ModuleType | None:
    try:
        from altgrad_core.numerics.kernels import cpu
    except Exception as error:  # a broken compiler of any kind leaves the reference, which is always right
        warnings.warn(f"Numba cannot run here ({error}); quantizing by the slow reference path", stacklevel=2)
        return None
    return cpu


def _cpu() -> ModuleType:
    cpu = _compiled()
    assert cpu is not None, "ask `supports` first"
    return cpu

"""Fast paths that equal the reference bit for bit, and the choice between the two.

`supports` says whether a fast path takes a tensor; the functions beside it then do the work. Nothing here decides
what a number means: that is `altgrad_core.numerics.reference`.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

from altgrad_core.numerics.kernels.facts import NEVER, Facts, arithmetic_facts, float_bits
from altgrad_core.numerics.reference import overflow_threshold, special_beyond
from altgrad_core.numerics.tally import Tally

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.format import Format


ROUNDINGS = ("nearest-even", "stochastic")


def supports(x: Tensor, format: Format, rounding: str = "nearest-even") -> bool:
    """Whether the compiled CPU path takes this tensor, format and rounding."""
    import torch

    fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return fits and rounding in ROUNDINGS and arithmetic_facts(format) is not None and _compiled() is not None


def amax(x: Tensor) -> Tensor:
    """The largest finite magnitude, float32 of shape ()."""
    return _from_bits(_kernels().amax_bits(_flat(x)))


def quantize(
    x: Tensor, format: Format, *, scale: Tensor, rounding: str, overflow: str, key: int | None
) -> tuple[Tensor, Tally]:
    """As `reference.quantize`, in one pass."""
    import torch

    flat = _flat(x)
    out = torch.empty(x.shape, dtype=torch.float32)
    facts = _facts(format)
    factors = _factors(scale)
    if rounding == "stochastic":
        counts = _kernels().quantize_stochastic(flat, out.view(-1).numpy(), *factors, facts, key)
        if overflow == "specials" and int(counts[4]):
            from altgrad_core.numerics import reference

            return reference.quantize(x, format, scale=scale, rounding=rounding, overflow=overflow, key=key)
    else:
        limit, beyond = _limit(format, overflow)
        counts = _kernels().quantize_nearest(flat, out.view(-1).numpy(), *factors, facts, limit, beyond)
    return out.to(x.dtype), Tally(x.numel(), _from_bits(counts[0]), *(int(count) for count in counts[1:]))


def nearest_rung(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """The number of the rung nearest to x / scale, int32, of the shape of `x`."""
    import torch

    out = torch.empty(x.shape, dtype=torch.int32)
    _kernels().nearest_rung(_flat(x), out.view(-1).numpy(), *_factors(scale), _facts(format))
    return out


def position(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """The rung position of x / scale, float64, of the shape of `x`."""
    import torch

    out = torch.empty(x.shape, dtype=torch.float64)
    _kernels().position(_flat(x), out.view(-1).numpy(), *_factors(scale), _facts(format))
    return out


def value_at(u: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """Scale times the value at rung position `u` (float64), float32, of the shape of `u`."""
    import torch

    out = torch.empty(u.shape, dtype=torch.float32)
    _kernels().value_at(u.detach().contiguous().view(-1).numpy(), out.view(-1).numpy(), float(scale), _facts(format))
    return out


@lru_cache(maxsize=1)
def _compiled() -> ModuleType | None:
    try:
        from altgrad_core.numerics.kernels import cpu
    except Exception as error:  # a broken compiler of any kind leaves the reference, which is always right
        warnings.warn(f"Numba cannot run here ({error}); quantizing by the slow reference path", stacklevel=2)
        return None
    return cpu


def _kernels() -> ModuleType:
    compiled = _compiled()
    assert compiled is not None, "ask `supports` first"
    return compiled


def _facts(format: Format) -> Facts:
    facts = arithmetic_facts(format)
    assert facts is not None, "ask `supports` first"
    return facts


def _flat(x: Tensor):  # type: ignore[no-untyped-def]  # a NumPy array, and NumPy is not imported here
    import torch

    return x.detach().to(torch.float32).contiguous().view(-1).numpy()


def _factors(scale: Tensor) -> tuple[float, float, bool]:
    """The scale, its inverse, and whether dividing is needed because the inverse is no exact float32."""
    number = float(scale)
    significand, exponent = math.frexp(number)
    return number, 1.0 / number, significand != 0.5 or exponent <= -127


def _from_bits(bits: int) -> Tensor:
    import torch

    return torch.tensor(int(bits), dtype=torch.int32).view(torch.float32)


@lru_cache(maxsize=256)
def _limit(format: Format, overflow: str) -> tuple[int, int]:
    """From which float32 bits a scaled magnitude leaves the grid, and the bits of what it becomes."""
    largest = _facts(format).largest_bits
    special = special_beyond(format, 1) if overflow == "specials" else None
    if special is None:
        return largest, largest
    threshold, tie_leaves = overflow_threshold(format, 1)
    bits = float_bits(threshold) if threshold < 2.0**128 else NEVER
    return bits + (not tie_leaves), 0x7FC00000 if math.isnan(special) else NEVER

"""The public operations on tensors: each checks what it was given, chooses a backend and calls it."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from altgrad_core.errors import FormatError
from altgrad_core.numerics.backends import choose, choose_for
from altgrad_core.numerics.backends.case import WHOLE, Case, Operation
from altgrad_core.numerics.checks import (
    check_alike,
    check_broadcasts,
    check_codes,
    check_kind,
    check_out,
    check_scale,
    check_values,
)
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.overflow import Overflow
from altgrad_core.numerics.quantizer import Quantizer, StraightThrough, check_own_scale
from altgrad_core.numerics.rounding import check_key
from altgrad_core.numerics.scaling import Scaling, ScalingName
from altgrad_core.numerics.tally import Quantized
from altgrad_core.numerics.tiling import Tiling

if TYPE_CHECKING:
    from torch import Tensor, dtype

A_QUANTIZER = 'a Quantizer, as Quantizer(load_format("e4m3"))'
A_FORMAT = 'a format or a Quantizer, as load_format("e4m3")'


def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: int | None = None, out: Tensor | None = None
) -> Quantized:
    """Round `x`; no gradient.

    Args:
        x: of any shape; tiles lie along its last two dimensions.
        scale: as `scale_of` gives it; None: that of the amax of `x`.
        key: names the random stream of stochastic rounding.
        out: takes the values: of the shape and type of `x`, contiguous, sharing no memory with it.

    Returns:
        The values, in `out` where it is given, the scales, and the counts. The identity format returns `x` itself.

    Raises:
        FormatError: stochastic without a key; an `x` of another type than float; a `scale` or `out` that does not fit.
    """
    check_values("quantize", x)
    check_kind("quantize", "how", how, Quantizer, A_QUANTIZER)
    if out is not None:
        check_out(out, x)
    if how.target.is_identity:
        import torch

        values = x.detach() if out is None else out.copy_(x.detach())
        one = torch.ones((), dtype=torch.float32, device=x.device)
        return Quantized(values, one if scale is None else scale, None)
    if how.mode.random_bits:
        check_key(key)
    if _tracing().is_traced() and out is None:
        return library().quantize(x, how, scale=scale, key=key)
    if scale is not None:
        check_scale("quantize", scale, x, how.tiling.shape(tuple(x.shape)))
    if how.hadamard is not None:
        from altgrad_core.numerics.hadamard import restored, transformed

        rotated = transformed(x, how.hadamard, how.hadamard_signs)
        done = quantize(rotated, how.unrotated, scale=scale, key=key)
        values = restored(done.values, how.hadamard, how.hadamard_signs).to(x.dtype)
        return done._replace(values=values if out is None else out.copy_(values))
    return choose_for("quantize", x, how).quantize(x, how, scale=scale, key=key, out=out)


def fake_quantize(
    x: Tensor,
    format: Format | Quantizer,
    *,
    rounding: str = "nearest-even",
    scaling: Scaling | ScalingName = "none",
    overflow: Overflow = "saturate",
    straight_through: StraightThrough = "identity",
    key: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Q(x / s) * s: float in, float of the same shape and type out; the gradient passes straight through.

    Args:
        format: a format, or a quantizer, which says all but `key` and `out`.

    Raises:
        FormatError: `scaling="delayed"`, which has a history that only a plan keeps; and as `quantize`.
    """
    from altgrad_core.numerics.straight_through import StraightThroughRound

    check_kind("fake_quantize", "format", format, (Format, Quantizer), A_FORMAT)
    facts = (rounding, scaling, overflow, straight_through)
    is_identity = (format if isinstance(format, Format) else format.target).is_identity
    if _tracing().is_traced() and out is None and not is_identity:
        check_values("quantize", x)
        return library().fake_quantize(x, format, *facts, key=key)
    how = _quantizer(format, *facts) if isinstance(format, Format) else format
    check_own_scale(how)
    done = quantize(x, how, key=key, out=out)
    values: Tensor = StraightThroughRound.apply(x, done.values, how.clip_bound(x, done.scale))
    return values


@lru_cache(maxsize=256)
def _quantizer(format: Format, *facts: Any) -> Quantizer:
    """The same one for the same facts, so that it knows its backends."""
    return Quantizer(format, *facts)


def encode(
    x: Tensor,
    format: Format | Quantizer,
    *,
    scale: Tensor | float = 1.0,
    rounding: str = "nearest-even",
    overflow: Overflow = "saturate",
    key: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The codes of x / scale: uint8 up to 8 bits, uint16 above; of the shape of `x`.

    Args:
        format: a format; or a quantizer, which says how to round, and which elements share one of the scales.
        scale: a number, or a float32 tensor: for a format one that broadcasts to the shape of `x`, for a quantizer one
            that `quantize` returned.
        out: takes the codes: contiguous, of their type and shape.

    Raises:
        FormatError: `x` holds NaN and the format has no code for it, or the format is the identity.
    """
    import torch

    check_values("encode", x)
    check_kind("encode", "format", format, (Format, Quantizer), A_FORMAT)
    how = Quantizer(format, rounding, "none", overflow) if isinstance(format, Format) else format
    target = how.target
    if how.hadamard is not None:
        raise FormatError("encode: the codes are those of the Hadamard transform of x; encode that, without hadamard")
    if target.is_identity:
        raise FormatError(f'format "{target.name}" is the identity: it has no codes')
    if out is None:
        out = torch.empty(x.shape, dtype=code_type(target), device=x.device)
    check_out(out, x, code_type(target))
    divisor = _spread("encode", torch.as_tensor(scale, dtype=torch.float32, device=x.device), x, how.tiling)
    if divisor.ndim:
        x, divisor = _divided(x, divisor), divisor.new_ones(())
    if how.mode.random_bits:
        check_key(key)
    how = Quantizer(target, how.rounding, "none", how.overflow)
    nans = choose_for("encode", x, how).encode(x, how, scale=divisor, key=key, out=out)
    if nans and target.nan_code is None:
        raise FormatError(f'encode: {nans} NaN among {x.numel()} values, and "{target.name}" has no NaN code')
    return out


def _spread(operation: str, scale: Tensor, x: Tensor, tiling: Tiling) -> Tensor:
    """The scale of each element of `x`, by broadcasting where that will do."""
    if tiling.whole or scale.ndim == 0:
        check_broadcasts(operation, scale, x)
        return scale
    check_scale(operation, scale, x, tiling.shape(tuple(x.shape)))
    return tiling.spread(scale, tuple(x.shape))


def _divided(x: Tensor, divisor: Tensor) -> Tensor:
    """x / divisor, where a finite quotient too large for its type stays finite: it overflows, but is no infinity.

    Where the scale is NaN the values are lost, and any code will do: that of 0.
    """
    import torch

    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    quotient = wide / divisor
    most = torch.finfo(wide.dtype).max
    return quotient.where(wide.isinf(), quotient.clamp(-most, most)).where(~divisor.isnan(), 0.0)


def decode(
    codes: Tensor, format: Format | Quantizer, *, scale: Tensor | float = 1.0, out: Tensor | None = None
) -> Tensor:
    """The float32 values of integer `codes`, times scale; of the shape of `codes`.

    Args:
        format: as `encode` has it.
        scale: as `encode` has it.

    Raises:
        FormatError: a code that the format does not have, or codes that are not integers.
    """
    import torch

    check_kind("decode", "format", format, (Format, Quantizer), A_FORMAT)
    target = format if isinstance(format, Format) else format.target
    check_codes(codes, target)
    if out is None:
        out = torch.empty(codes.shape, dtype=torch.float32, device=codes.device)
    check_out(out, codes, torch.float32)
    factor = torch.as_tensor(scale, dtype=torch.float32, device=codes.device)
    factor = _spread("decode", factor, codes, format.tiling if isinstance(format, Quantizer) else WHOLE)
    backend = choose(Case("decode", codes.device.type, codes.dtype, codes.is_contiguous(), (target,)))
    backend.decode(codes, target, scale=1.0 if factor.ndim else float(factor), out=out)
    return out.mul_(factor) if factor.ndim else out


def amax(x: Tensor, tiling: Tiling = WHOLE) -> Tensor:
    """The largest finite magnitude of each tile of `x`, 0 where there is none: float32 of `tiling.shape(x.shape)`."""
    check_values("amax", x)
    case = Case("amax", x.device.type, x.dtype, x.is_contiguous(), tiling=tiling)
    result: Tensor = choose(case).amax(x, tiling)
    return result


def scale_of(amax: Tensor, how: Quantizer) -> Tensor:
    """The scales for the largest magnitudes `amax` of the tiles of one tensor, float32, of the shape of `amax`."""
    check_values("scale_of", amax, "amax")
    check_kind("scale_of", "how", how, Quantizer, A_QUANTIZER)
    result: Tensor = choose_for("scale", amax, how).scale(amax, how)
    return result


def rung(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """The number of the rung nearest to x / scale, ties to even; int32, of the shape of `x`.

    Args:
        scale: float32, broadcasting to the shape of `x`; so for the three operations below.
    """
    return _on_grid("rung", x, format, scale)


def position(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """The rung position of x / scale, float64, of the shape of `x`; see `Geometry.position`."""
    return _on_grid("position", x, format, scale)


def value(u: Tensor, format: Format, scale: Tensor) -> Tensor:
    """Scale times the value at rung position `u`, float32, of the shape of `u`."""
    return _on_grid("value", u.double(), format, scale)


def spacing(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """Scale times the width of the cell that holds x / scale, float32; see `Geometry.spacing`."""
    return _on_grid("spacing", x, format, scale)


def movement(before: Tensor, after: Tensor, gradient: Tensor, format: Format, scale: Tensor) -> Tensor:
    """What a step did to a weight; see `Geometry.movement`."""
    check_alike("movement", "after", after, before=before, gradient=gradient)
    check_broadcasts("movement", scale, after)
    case = Case("movement", after.device.type, after.dtype, after.is_contiguous(), (format,))
    result: Tensor = choose(case).movement(before, after, gradient, format, scale)
    return result


def _on_grid(operation: Operation, x: Tensor, format: Format, scale: Tensor) -> Tensor:
    check_values(operation, x)
    check_broadcasts(operation, scale, x)
    backend = choose(Case(operation, x.device.type, x.dtype, x.is_contiguous(), (format,)))
    result: Tensor = getattr(backend, operation)(x, format, scale)
    return result


def library() -> ModuleType:
    """The operations as torch knows them; loaded when they are first needed, for they need torch."""
    from altgrad_core.numerics import library

    return library


@lru_cache(maxsize=1)
def _tracing() -> ModuleType:
    """Loaded when it is first needed, for it needs torch; an import in every call would take as long as a small kernel."""
    from altgrad_core.numerics import tracing

    return tracing


def code_type(format: Format) -> dtype:
    """The integer type of the codes of a format: uint8 up to 8 bits, uint16 above."""
    import torch

    return torch.uint8 if format.bits <= 8 else torch.uint16

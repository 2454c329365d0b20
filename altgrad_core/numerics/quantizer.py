"""A quantizer: a format, a rounding and a scaling; and the bare functions a training script of one's own needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

from altgrad_core.errors import FormatError
from altgrad_core.numerics import kernels, reference
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.rounding import ROUNDINGS, RoundingName
from altgrad_core.numerics.scaling import Scaling, ScalingName, scale_for, spread
from altgrad_core.numerics.tally import Quantized

if TYPE_CHECKING:
    from torch import Tensor, dtype

Overflow = Literal["saturate", "specials"]
StraightThrough = Literal["identity", "clipped"]


@dataclass(frozen=True)
class Quantizer:
    """How one operand is brought to a format. A value: it holds no tensor and no history.

    Attributes:
        format: the format, or the name of a registered one, which `quantize_model` looks up.
        rounding: one of the six names in `ROUNDINGS`.
        scaling: a `Scaling`, or its kind: `none`, `amax`, `delayed`.
        overflow: `saturate`, or `specials`: to infinity or NaN where the format has them.
        straight_through: the gradient of rounding. `identity`, or `clipped`: zero where the value overflowed.
    """

    format: Format | str
    rounding: RoundingName = "nearest-even"
    scaling: Scaling | ScalingName = field(default="amax")
    overflow: Overflow = "saturate"
    straight_through: StraightThrough = "identity"

    def __post_init__(self) -> None:
        if isinstance(self.scaling, str):
            object.__setattr__(self, "scaling", Scaling(self.scaling))
        _one_of("rounding", self.rounding, ROUNDINGS)
        _one_of("overflow", self.overflow, get_args(Overflow))
        _one_of("straight_through", self.straight_through, get_args(StraightThrough))

    @property
    def target(self) -> Format:
        """The format itself.

        Raises:
            FormatError: it is still a name.
        """
        if isinstance(self.format, str):
            raise FormatError(f'"{self.format}" is only a name here; pass load_format("{self.format}")')
        return self.format

    @property
    def scale_rule(self) -> Scaling:
        """The scaling as a `Scaling`."""
        assert isinstance(self.scaling, Scaling)
        return self.scaling

    def block_of(self, x: Tensor) -> int | None:
        """How many neighbours in a row of `x` share a scale; None where the whole tensor shares one."""
        return self.scale_rule.block_of(x.shape[-1]) if x.ndim else None

    def scale_of(self, amax: Tensor) -> Tensor:
        """The scales for the largest magnitudes `amax` of one tensor, float32, of the shape of `amax`."""
        if kernels.supports(amax, self.target):
            return kernels.scale_of(amax, self)
        return scale_for(amax, self.target.largest, self.scale_rule)

    def quantize(
        self, x: Tensor, *, scale: Tensor | None = None, key: int | None = None, out: Tensor | None = None
    ) -> Quantized:
        """Round `x`; no gradient.

        Args:
            x: of any shape; its last dimension is that of rows and blocks.
            scale: as `scale_of` gives it; None: that of the amax of `x`.
            key: names the random stream of stochastic rounding.
            out: takes the values: of the shape and type of `x`, contiguous, sharing no memory with it.

        Returns:
            The values, in `out` where it is given, the scales, and the counts. The identity format returns `x` itself.

        Raises:
            FormatError: stochastic without a key; an `out` that does not fit.
        """
        import torch

        if out is not None:
            _check_out(out, x)
        if self.target.is_identity:
            values = x.detach() if out is None else out.copy_(x.detach())
            return Quantized(
                values, torch.ones((), dtype=torch.float32, device=x.device) if scale is None else scale, None
            )
        _check_key(self, key)
        return _path(x, self).quantize(x, self, scale=scale, key=key, out=out)

    def fake_quantize(self, x: Tensor, *, key: int | None = None, out: Tensor | None = None) -> Tensor:
        """Round `x` at the scale of its own amax, with the straight-through gradient."""
        from altgrad_core.numerics.straight_through import StraightThroughRound

        if self.scale_rule.kind == "delayed":
            raise FormatError("delayed scaling needs a history from step to step: use quantize_model")
        done = self.quantize(x, key=key, out=out)
        return StraightThroughRound.apply(x, done.values, self.clip_bound(x, done.scale))

    def clip_bound(self, x: Tensor, scale: Tensor) -> Tensor | None:
        """The magnitude above which a clipped straight-through gradient is zero; None where it is not clipped."""
        if self.straight_through == "identity":
            return None
        return spread(scale, x.shape, self.block_of(x)) * self.target.largest

    def encode(self, x: Tensor, *, key: int | None = None) -> tuple[Tensor, Tensor]:
        """The codes of `x` and the scales they are at, those of the amax of `x`."""
        scale = self.scale_of(amax_of(x, self.target, self.block_of(x)))
        options: dict[str, Any] = {"rounding": self.rounding, "overflow": self.overflow, "key": key}
        return encode(x, self.target, scale=spread(scale, x.shape, self.block_of(x)), **options), scale

    def decode(self, codes: Tensor, scale: Tensor) -> Tensor:
        """The float32 values of `codes` at the scales that came with them."""
        return decode(codes, self.target, scale=spread(scale, codes.shape, self.block_of(codes)))


def _path(x: Tensor, how: Quantizer) -> ModuleType:
    """The module that rounds `x`: compiled for the CPU; of tensor operations on other devices; else the reference."""
    if kernels.supports(x, how.target, how.rounding):
        return kernels
    if x.device.type != "cpu":
        from altgrad_core.numerics.kernels import portable

        if portable.supports(x, how.target, how.rounding):
            return portable
    return reference


def fake_quantize(
    x: Tensor,
    format: Format,
    *,
    rounding: RoundingName = "nearest-even",
    scaling: Scaling | ScalingName = "none",
    overflow: Overflow = "saturate",
    straight_through: StraightThrough = "identity",
    key: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Q(x / s) * s: float in, float of the same shape and type out; the gradient passes straight through.

    Raises:
        FormatError: `scaling="delayed"`, which has a history that only a plan keeps; stochastic without a key.
    """
    return Quantizer(format, rounding, scaling, overflow, straight_through).fake_quantize(x, key=key, out=out)


def amax_of(x: Tensor, format: Format, block: int | None = None) -> Tensor:
    """The largest finite magnitude of `x`, float32 of shape (), or those of its blocks."""
    return kernels.amax(x, block) if kernels.supports(x, format) else reference.finite_amax(x, block)


def encode(
    x: Tensor,
    format: Format,
    *,
    scale: Tensor | float = 1.0,
    rounding: RoundingName = "nearest-even",
    overflow: Overflow = "saturate",
    key: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The codes of x / scale: uint8 up to 8 bits, uint16 above; of the shape of `x`.

    Args:
        scale: a number, or a float32 tensor that broadcasts to the shape of `x`.
        out: takes the codes: contiguous, of their type and shape.

    Raises:
        FormatError: `x` holds NaN and the format has no code for it, or the format is the identity.
    """
    import torch

    if format.is_identity:
        raise FormatError(f'format "{format.name}" is the identity: it has no codes')
    if out is None:
        out = torch.empty(x.shape, dtype=code_type(format), device=x.device)
    _check_out(out, x, code_type(format))
    how = Quantizer(format, rounding, "none", overflow)
    divisor = torch.as_tensor(scale, dtype=torch.float32, device=x.device)
    if divisor.ndim:
        x, divisor = _divided(x, divisor), divisor.new_ones(())
    _check_key(how, key)
    path = kernels if kernels.supports(x, format, rounding) else reference
    nans = path.encode(x, how, scale=divisor, key=key, out=out)
    if nans and format.nan_code is None:
        raise FormatError(f'encode: {nans} NaN among {x.numel()} values, and "{format.name}" has no NaN code')
    return out


def _divided(x: Tensor, divisor: Tensor) -> Tensor:
    """x / divisor, where a finite quotient too large for its type stays finite: it overflows, but is no infinity."""
    import torch

    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    quotient = wide / divisor
    most = torch.finfo(wide.dtype).max
    return quotient.where(wide.isinf(), quotient.clamp(-most, most))


def decode(codes: Tensor, format: Format, *, scale: Tensor | float = 1.0, out: Tensor | None = None) -> Tensor:
    """The float32 values of integer `codes`, times scale; of the shape of `codes`.

    Raises:
        FormatError: a code that the format does not have, or codes that are no integers.
    """
    import torch

    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise FormatError(f"decode: codes are {codes.dtype}; expected integers, as encode returns them")
    if not (codes.dtype == torch.uint8 and format.bits == 8):
        _check_codes(codes, format)
    if out is None:
        out = torch.empty(codes.shape, dtype=torch.float32, device=codes.device)
    _check_out(out, codes, torch.float32)
    factor = torch.as_tensor(scale, dtype=torch.float32, device=codes.device)
    path = kernels if kernels.decodes(codes, format) else reference
    path.decode(codes, format, scale=1.0 if factor.ndim else float(factor), out=out)
    return out.mul_(factor) if factor.ndim else out


def code_type(format: Format) -> dtype:
    """The integer type of the codes of a format: uint8 up to 8 bits, uint16 above."""
    import torch

    return torch.uint8 if format.bits <= 8 else torch.uint16


def _check_codes(codes: Tensor, format: Format) -> None:
    import torch

    numbers = codes.to(torch.int64)
    if numbers.numel() and not (int(numbers.min()) >= 0 and int(numbers.max()) < len(format.table)):
        extremes = f"{int(numbers.min())} to {int(numbers.max())}"
        raise FormatError(f'decode: codes from {extremes}; "{format.name}" has codes from 0 to {len(format.table) - 1}')


def _check_key(how: Quantizer, key: int | None) -> None:
    if how.rounding == "stochastic" and key is None:
        raise FormatError("stochastic rounding needs a key: pass key=derive_key(seed, stream, step)")


def _check_out(out: Tensor, x: Tensor, wanted: dtype | None = None) -> None:
    """Refuse a place for the result that has another shape, type or device, is no plain memory, or overlaps `x`."""
    wanted = x.dtype if wanted is None else wanted
    fits = (out.shape, out.dtype, out.device) == (x.shape, wanted, x.device) and out.is_contiguous()
    if not fits:
        got = f"{out.dtype} of shape {tuple(out.shape)} on {out.device}"
        raise FormatError(f"out is {got}; expected contiguous {wanted} of shape {tuple(x.shape)} on {x.device}")
    if out.requires_grad or (out.numel() and out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() != 0):
        raise FormatError("out shares memory with the input, or requires a gradient; pass a tensor of its own")


def _one_of(what: str, got: str, choices: Any) -> None:
    if got not in choices:
        raise FormatError(f'no {what} "{got}"; one of {", ".join(choices)}')

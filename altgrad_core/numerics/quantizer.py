"""A quantizer: a format, a rounding and a scaling; and the bare functions a training script of one's own needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from altgrad_core.errors import FormatError
from altgrad_core.numerics import kernels, reference
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.rounding import ROUNDINGS, RoundingName, round_to_index
from altgrad_core.numerics.scaling import Scaling, ScalingName, scale_for

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.tally import Tally

Overflow = Literal["saturate", "specials"]
StraightThrough = Literal["identity", "clipped"]


@dataclass(frozen=True)
class Quantizer:
    """How one operand is brought to a format. A value: it holds no tensor and no history.

    Attributes:
        format: the format, or the name of a registered one, which `quantize_model` looks up.
        rounding: `nearest-even` or `stochastic`.
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

    def scale_of(self, amax: Tensor) -> Tensor:
        """The scale for a largest magnitude `amax`, float32 of shape ()."""
        rule = self.scale_rule
        if rule.kind == "none":
            return amax.new_ones(())
        return scale_for(amax, self.target.largest, rounding=rule.rounding, margin=rule.margin)

    def quantize(self, x: Tensor, *, scale: Tensor, key: int | None = None) -> tuple[Tensor, Tally | None]:
        """Round `x` at this scale; no gradient. The identity format returns `x` and no tally."""
        return quantize(x, self.target, scale=scale, rounding=self.rounding, overflow=self.overflow, key=key)

    def fake_quantize(self, x: Tensor, *, key: int | None = None) -> Tensor:
        """Round `x` at the scale of its own amax, with the straight-through gradient."""
        return fake_quantize(
            x,
            self.target,
            rounding=self.rounding,
            scaling=self.scale_rule,
            overflow=self.overflow,
            straight_through=self.straight_through,
            key=key,
        )

    def encode(self, x: Tensor, *, key: int | None = None) -> tuple[Tensor, Tensor]:
        """The codes of `x` and the scale they are at."""
        scale = self.scale_of(amax_of(x, self.target))
        options: dict[str, Any] = {"rounding": self.rounding, "overflow": self.overflow, "key": key}
        return encode(x, self.target, scale=scale, **options), scale

    def decode(self, codes: Tensor, scale: Tensor) -> Tensor:
        """The float32 values of `codes` at `scale`."""
        return decode(codes, self.target, scale=scale)


def fake_quantize(
    x: Tensor,
    format: Format,
    *,
    rounding: RoundingName = "nearest-even",
    scaling: Scaling | ScalingName = "none",
    overflow: Overflow = "saturate",
    straight_through: StraightThrough = "identity",
    key: int | None = None,
) -> Tensor:
    """Q(x / s) * s: float in, float of the same shape and type out; the gradient passes straight through.

    Raises:
        FormatError: `scaling="delayed"`, which has a history that only a plan keeps; stochastic without a key.
    """
    from altgrad_core.numerics.straight_through import StraightThroughRound

    quantizer = Quantizer(format, rounding, scaling, overflow, straight_through)
    if quantizer.scale_rule.kind == "delayed":
        raise FormatError("delayed scaling needs a history from step to step: use quantize_model")
    scale = quantizer.scale_of(amax_of(x, quantizer.target))
    rounded, _ = quantizer.quantize(x, scale=scale, key=key)
    return StraightThroughRound.apply(x, rounded, clip_bound(quantizer, scale))


def clip_bound(quantizer: Quantizer, scale: Tensor) -> Tensor | None:
    """The magnitude above which a clipped straight-through gradient is zero; None where it is not clipped."""
    return scale * quantizer.target.largest if quantizer.straight_through == "clipped" else None


def quantize(
    x: Tensor, format: Format, *, scale: Tensor, rounding: str = "nearest-even", overflow: str, key: int | None = None
) -> tuple[Tensor, Tally | None]:
    """Q(x / scale) * scale and the counts, by the fast path where there is one."""
    if format.is_identity:
        return x.detach(), None
    path = kernels if kernels.supports(x, format, rounding) else reference
    if rounding == "stochastic" and key is None:
        raise FormatError("stochastic rounding needs a key: pass key=derive_key(seed, stream, step)")
    return path.quantize(x, format, scale=scale, rounding=rounding, overflow=overflow, key=key)


def amax_of(x: Tensor, format: Format) -> Tensor:
    """The largest finite magnitude of `x`, float32 of shape ()."""
    return kernels.amax(x) if not format.is_identity and kernels.supports(x, format) else reference.finite_amax(x)


def encode(
    x: Tensor,
    format: Format,
    *,
    scale: Tensor | float = 1.0,
    rounding: RoundingName = "nearest-even",
    overflow: Overflow = "saturate",
    key: int | None = None,
) -> Tensor:
    """The codes of x / scale: uint8 up to 8 bits, uint16 above; of the shape of `x`.

    Raises:
        FormatError: `x` holds NaN and the format has no code for it, or the format is the identity.
    """
    import torch

    if format.is_identity:
        raise FormatError(f'format "{format.name}" is the identity: it has no codes')
    nans = x.isnan()
    if format.nan_code is None and bool(nans.any()):
        raise FormatError(
            f'encode: {int(nans.sum())} NaN among {x.numel()} values, and "{format.name}" has no NaN code'
        )
    unit = torch.ones((), device=x.device)
    wide = x if x.dtype == torch.float64 else x.to(torch.float32)
    rounded, _ = quantize(
        wide / torch.as_tensor(scale, dtype=wide.dtype, device=x.device),
        format,
        scale=unit,
        rounding=rounding,
        overflow=overflow,
        key=key,
    )
    return _codes_of(rounded, format)


def decode(codes: Tensor, format: Format, *, scale: Tensor | float = 1.0) -> Tensor:
    """The float32 values of integer `codes`, times scale; of the shape of `codes`.

    Raises:
        FormatError: a code that the format does not have, or codes that are no integers.
    """
    import torch

    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise FormatError(f"decode: codes are {codes.dtype}; expected integers, as encode returns them")
    numbers = codes.to(torch.int64)
    if numbers.numel() and not (int(numbers.min()) >= 0 and int(numbers.max()) < len(format.table)):
        extremes = f"{int(numbers.min())} to {int(numbers.max())}"
        raise FormatError(f'decode: codes from {extremes}; "{format.name}" has codes from 0 to {len(format.table) - 1}')
    table = torch.tensor(format.table, dtype=torch.float32, device=codes.device)
    return table[numbers] * scale


def _codes_of(rounded: Tensor, format: Format) -> Tensor:
    """The codes of values that lie on the grid or are special."""
    import torch

    grid = format.grid
    index = round_to_index(rounded, grid)
    codes = torch.tensor(grid.codes, device=rounded.device)[index]
    specials = {True: format.infinity_code(1), False: format.infinity_code(-1)}
    if grid.negative_zero is not None:
        codes = codes.masked_fill((rounded == 0) & rounded.signbit(), grid.negative_zero)
    for positive, code in specials.items():
        if code is not None:
            codes = codes.masked_fill(rounded.isinf() & (rounded.signbit() != positive), code)
    if format.nan_code is not None:
        codes = codes.masked_fill(rounded.isnan(), format.nan_code)
    return codes.to(torch.uint8 if format.bits <= 8 else torch.uint16)


def _one_of(what: str, got: str, choices: Any) -> None:
    if got not in choices:
        raise FormatError(f'no {what} "{got}"; one of {", ".join(choices)}')

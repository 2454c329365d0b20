"""The floating-point family as data: sign, exponent, mantissa, bias, specials, subnormals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import MOST_BITS, Format

Specials = Literal["finite", "fn", "ieee", "fnuz", "p3109"]
Subnormals = Literal["yes", "no", "none"]


@dataclass(frozen=True, repr=False)
class Minifloat(Format):
    """A binary floating-point format: sign in the top bit, then exponent, then mantissa.

    Attributes:
        name: empty for a name made of the facts, such as `e4m3b8-finite`.
        bias: the exponent bias; 2 ** (exponent_bits - 1) - 1 by default, 1 where there are no exponent bits.
        specials: which codes are not finite. `finite`: none. `fn`: NaN where exponent and mantissa are all ones
            (OCP E4M3). `ieee`: the top exponent holds infinity and NaNs (IEEE 754). `fnuz`: NaN at the code of -0.
            `p3109`: NaN at the code of -0, infinities at the largest magnitudes (IEEE P3109, signed, extended).
        subnormals: `yes`: exponent field 0 counts in steps of the smallest normal binade. `no`: it is zero.
            `none`: it is an ordinary power of two and there is no zero (OCP E8M0).
    """

    exponent_bits: int = field()
    mantissa_bits: int = field()
    bias: int | None = None
    specials: Specials = "finite"
    subnormals: Subnormals = "yes"
    signed: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        self._check_bits()
        if self.bias is None:
            object.__setattr__(self, "bias", 2 ** (self.exponent_bits - 1) - 1 if self.exponent_bits else 1)
        if not self.name:
            object.__setattr__(self, "name", self._made_name())
        object.__setattr__(self, "name", self.name.lower())
        self._check()

    def _made_name(self) -> str:
        extra = ("" if self.subnormals == "yes" else f"-sub-{self.subnormals}") + ("" if self.signed else "-unsigned")
        bias = str(self.bias).replace("-", "n")
        return f"e{self.exponent_bits}m{self.mantissa_bits}b{bias}-{self.specials}{extra}"

    def _check_bits(self) -> None:
        split = f"{self.exponent_bits} exponent and {self.mantissa_bits} mantissa bits"
        if self.exponent_bits < 0 or self.mantissa_bits < 0 or not 2 <= self.bits <= MOST_BITS:
            raise FormatError(f"a format of {split} has {self.bits} bits in all; 2 to {MOST_BITS} are possible")

    def _check(self) -> None:
        def refuse(why: str) -> None:
            raise FormatError(f'format "{self.name}": {why}')

        if self.exponent_bits == 0 and (self.subnormals != "yes" or self.specials == "ieee"):
            refuse('without exponent bits only subnormals = "yes" and specials other than "ieee" make sense')
        if self.specials in ("fnuz", "p3109") and not (self.signed and self.subnormals != "none"):
            refuse(
                f'specials = "{self.specials}" puts NaN at the code of -0, so the format must be signed and have a zero'
            )
        if self._top_exponent > 127 or self._quantum_exponent < -149:
            span = f"from 2**{self._quantum_exponent} to below 2**{self._top_exponent + 1}"
            refuse(f"its values, {span}, do not fit in float32 (2**-149 to below 2**128)")

    @property
    def bits(self) -> int:  # type: ignore[override]
        return self.exponent_bits + self.mantissa_bits + self.signed

    @property
    def _bias(self) -> int:
        assert self.bias is not None
        return self.bias

    @property
    def _top_exponent(self) -> int:
        """The power of two of the highest finite binade."""
        top_field = 2**self.exponent_bits - 1
        emptied = self.specials == "ieee" or (self.mantissa_bits == 0 and self.specials in ("fn", "p3109"))
        return max(top_field - emptied, 1) - self._bias

    @property
    def _quantum_exponent(self) -> int:
        return (0 if self.subnormals == "none" else 1) - self._bias - self.mantissa_bits

    @property
    def quantum(self) -> float:
        """The gap between rungs in the lowest binade: the smallest positive value where there are subnormals."""
        return math.ldexp(1.0, self._quantum_exponent)

    def decode(self, code: int) -> float:
        magnitude_bits = self.exponent_bits + self.mantissa_bits
        magnitude = code & (2**magnitude_bits - 1)
        negative = self.signed and code >> magnitude_bits == 1
        special = self._special(magnitude, negative)
        value = self._finite(magnitude) if special is None else special
        return -value if negative and (value or self._has_negative_zero) else value

    @property
    def _has_negative_zero(self) -> bool:
        return self.specials not in ("fnuz", "p3109")

    def _special(self, magnitude: int, negative: bool) -> float | None:
        """NaN or infinity where this magnitude is not finite, else None."""
        top = 2 ** (self.exponent_bits + self.mantissa_bits) - 1
        if self.specials in ("fnuz", "p3109") and negative and magnitude == 0:
            return math.nan
        if self.specials == "p3109" and magnitude == top:
            return math.inf
        if self.specials == "fn" and magnitude == top:
            return math.nan
        if self.specials == "ieee" and magnitude >> self.mantissa_bits == 2**self.exponent_bits - 1:
            return math.nan if magnitude & (2**self.mantissa_bits - 1) else math.inf
        return None

    def _finite(self, magnitude: int) -> float:
        field, fraction = magnitude >> self.mantissa_bits, magnitude & (2**self.mantissa_bits - 1)
        if field == 0 and self.subnormals == "no":
            return 0.0
        if field == 0 and self.subnormals == "yes":
            return math.ldexp(fraction, 1 - self._bias - self.mantissa_bits)
        return math.ldexp(2**self.mantissa_bits + fraction, field - self._bias - self.mantissa_bits)

    def facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "bits": self.bits,
            "exponent_bits": self.exponent_bits,
            "mantissa_bits": self.mantissa_bits,
            "bias": self.bias,
            "specials": self.specials,
            "subnormals": self.subnormals,
            "signed": self.signed,
        }

"""A number format: a name and the value of each code. Everything else is derived from that table."""

from __future__ import annotations

import hashlib
import math
import struct
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

from altgrad_core.errors import FormatError, place_of, reason_of
from altgrad_core.numerics.format_html import format_html
from altgrad_core.numerics.grid import Grid

MOST_BITS = 16


class Format(ABC):
    """A finite set of codes and the real value of each; an immutable value, importable without torch.

    A subclass gives `name`, `decode`, and `bits` where it is not 8. `decode(code)` returns a float for every code
    from 0 to 2 ** bits - 1: finite, an infinity or NaN. `mantissa_bits` is given only where every binade of the format
    above its smallest normal value holds 2 ** mantissa_bits rungs; optimizers then can measure rates in binades.
    """

    name: str
    bits: int = 8
    mantissa_bits: int | None = None
    is_identity: bool = False

    @abstractmethod
    def decode(self, code: int) -> float:
        """The real value of `code`, for 0 <= code < 2 ** bits."""

    @cached_property
    def table(self) -> tuple[float, ...]:
        """The value of every code, rounded to float32 once; shape (2 ** bits,).

        Raises:
            FormatError: the identity, more than 16 bits, a finite value outside float32, or `decode` failed or returned no number.
        """
        if self.is_identity:
            raise FormatError(f'format "{self.name}" is the identity: it has no grid')
        if not 1 <= self.bits <= MOST_BITS:
            raise FormatError(f'format "{self.name}": {self.bits} bits; a tabulated format has 1 to {MOST_BITS}')
        return tuple(self._value(code) for code in range(2**self.bits))

    @cached_property
    def grid(self) -> Grid:
        """The distinct finite values, ascending."""
        try:
            return Grid.of(self.table)
        except FormatError as error:
            if str(error).startswith("format "):
                raise
            raise FormatError(f'format "{self.name}": {error}{self._written_at()}') from None

    def _value(self, code: int) -> float:
        """The value of a code, as float32."""
        said = f'format "{self.name}": '
        try:
            value = self.decode(code)
        except Exception as error:
            place = place_of(error)
            expected = f"expected a float for every code from 0 to {2**self.bits - 1}"
            raise FormatError(f"{said}decode({code}) raised {reason_of(error)}{place}; {expected}") from error
        try:
            return float(struct.unpack("<f", struct.pack("<f", value))[0])
        except OverflowError:
            why = f"code {code} is {value!r}, outside the range of float32"
            raise FormatError(f"{said}{why}{self._written_at()}; use smaller values, or math.inf") from None
        except (struct.error, TypeError):
            why = f"decode({code}) returned {value!r}, expected a float"
            hint = "; does every branch of it return a number?" if value is None else ""
            raise FormatError(f"{said}{why}{self._written_at()}{hint}") from None

    def _written_at(self) -> str:
        """` (file, line)` of a `decode` that someone else wrote."""
        code = getattr(type(self).decode, "__code__", None)
        is_ours = type(self).decode.__module__.startswith("altgrad_core.")
        return "" if code is None or is_ours else f" ({Path(code.co_filename).name}, line {code.co_firstlineno})"

    @property
    def largest(self) -> float:
        """The largest finite absolute value."""
        return self.grid.largest

    @property
    def smallest_positive(self) -> float:
        """The smallest value above zero."""
        return self.grid.smallest_positive

    @cached_property
    def nan_code(self) -> int | None:
        """The lowest code of NaN, or None where the format has none."""
        return next((code for code, value in enumerate(self.table) if math.isnan(value)), None)

    def infinity_code(self, sign: int) -> int | None:
        """The lowest code of the infinity with this sign (+1 or -1), or None."""
        return next((code for code, value in enumerate(self.table) if value == sign * math.inf), None)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the table as little-endian float32, in hexadecimal: what makes two formats the same numbers."""
        return hashlib.sha256(struct.pack(f"<{len(self.table)}f", *self.table)).hexdigest()

    def facts(self) -> dict[str, Any]:
        """All that defines the format, as plain data: it is written into every run."""
        return {"name": self.name, "bits": self.bits, "sha256": self.digest}

    def __repr__(self) -> str:
        return f"<format {self.name}>"

    def _repr_html_(self) -> str:
        if self.is_identity:
            return format_html(self.facts(), ())
        derived = {"values": len(self.grid), "largest": self.largest, "smallest positive": self.smallest_positive}
        return format_html({**self.facts(), **derived}, self.grid.values)


class Float32(Format):
    """IEEE 754 binary32 itself: the identity. It has no table and no geometry."""

    name = "fp32"
    bits = 32
    mantissa_bits = 23
    is_identity = True

    def decode(self, code: int) -> float:
        return float(struct.unpack("<f", struct.pack("<I", code))[0])

    @property
    def largest(self) -> float:
        return self.decode(0x7F7FFFFF)

    @property
    def smallest_positive(self) -> float:
        return self.decode(1)

    def facts(self) -> dict[str, Any]:
        return {"name": self.name, "bits": self.bits, "identity": True}

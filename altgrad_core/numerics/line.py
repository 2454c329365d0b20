"""The line that a weight walks on: the rungs of its format, or those with a floor under their spacing."""

from __future__ import annotations

import math
from functools import lru_cache

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Format


class Floored(Format):
    """The rungs of a format whose uppermost binades are as they are, and whose others are spaced alike.

    It is no format to encode in: a line to measure positions on.
    """

    def __init__(self, name: str, mantissa_bits: int, values: tuple[float, ...]) -> None:
        self.name, self.mantissa_bits, self._values = name, mantissa_bits, values
        self.bits = max(1, math.ceil(math.log2(len(values))))

    def decode(self, code: int) -> float:
        """The values in ascending order, the last one repeated."""
        return self._values[min(code, len(self._values) - 1)]


@lru_cache(maxsize=256)
def floored(format: Format, binades: int) -> Format:
    """The line of `format` on which no spacing is below that at 2 ** -binades of the end of its uppermost binade.

    Where the format's own smallest spacing, that of its subnormals, lies above, the line is the format itself.

    Raises:
        FormatError: the format has no binades, or is unsigned.
    """
    if format.mantissa_bits is None or not format.grid.is_symmetric:
        raise FormatError(
            f'a floor of {binades} binades needs a format with binades of both signs, not "{format.name}"'
        )
    end = 2.0 ** (math.frexp(format.largest)[1] - binades)
    cells = 2 ** (format.mantissa_bits + 1)
    if end / cells <= format.smallest_positive:
        return format
    above = [value for value in format.grid.values if value > end]
    upper = [*(end * cell / cells for cell in range(cells + 1)), *above]
    values = (*(-value for value in reversed(upper[1:])), *upper)
    name = f"{format.name}, {binades} binades"
    return Floored(name, format.mantissa_bits, values)

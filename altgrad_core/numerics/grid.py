"""The grid of a format: its distinct finite values in ascending order, with the code of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from altgrad_core.errors import FormatError


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Grid:
    """Rungs of a format, from the lowest to the highest.

    Attributes:
        values: the distinct finite values, ascending; +0 and -0 are one rung, stored as +0.
        codes: the lowest code of each value, in the same order.
        origin: the index of rung 0, which is zero (the lowest value where the format has no zero).
        negative_zero: the code of -0, or None.
    """

    values: tuple[float, ...]
    codes: tuple[int, ...]
    origin: int
    negative_zero: int | None

    @classmethod
    def of(cls, table: Sequence[float]) -> Grid:
        """The grid of a decode table (`table[code]` is the value of `code`).

        Raises:
            FormatError: fewer than two distinct finite values.
        """
        lowest_code: dict[float, int] = {}
        negative_zero = None
        for code, value in enumerate(table):
            if value == 0 and math.copysign(1.0, value) < 0:
                negative_zero = code if negative_zero is None else negative_zero
            elif math.isfinite(value):
                lowest_code.setdefault(value, code)
        if negative_zero is not None and 0.0 not in lowest_code:
            lowest_code[0.0] = negative_zero
        if len(lowest_code) < 2:
            raise FormatError(f"a format needs at least two distinct finite values, this table has {len(lowest_code)}")
        values = tuple(sorted(lowest_code))
        origin = values.index(0.0) if 0.0 in lowest_code else 0
        return cls(values, tuple(lowest_code[v] for v in values), origin, negative_zero)

    def __repr__(self) -> str:
        return f"<grid of {len(self)} values from {self.lowest:g} to {self.highest:g}>"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lowest(self) -> float:
        """The lowest finite value."""
        return self.values[0]

    @property
    def highest(self) -> float:
        """The highest finite value."""
        return self.values[-1]

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(self.values[0]), abs(self.values[-1]))

    @property
    def smallest_positive(self) -> float:
        """The smallest value above zero."""
        return next(v for v in self.values if v > 0)

    @property
    def is_symmetric(self) -> bool:
        """Whether the negative of every value is a value."""
        return all(low == -high for low, high in zip(self.values, reversed(self.values), strict=True))

"""What takes part in `quantize.py`: who does what to a tensor, and how a run of it is prepared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

import altgrad_core as ag

Run = Callable[[], Any]


class Place(NamedTuple):
    """What is read and where the result goes: contiguous tensors of shape (rows, columns)."""

    x: Tensor
    out: Tensor


Prepare = Callable[[Place], Run]


class Contender(NamedTuple):
    """One line of the table: the row it belongs to, who does it, and how."""

    row: str
    who: str
    prepare: Prepare


class CurvedTable(ag.Format):
    "256 values on sign(k) * |k / 32| ** 1.7: a table that is not a floating-point format."

    name = "curved-table"

    def decode(self, code: int) -> float:
        step = (code - 128) / 32
        return abs(step) ** 1.7 * (-1 if step < 0 else 1)

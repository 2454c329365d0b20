"""Which elements of a tensor share a scale."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from altgrad_core.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor

SIZE = "[1-9][0-9]{0,8}"


@dataclass(frozen=True)
class Tiling:
    """A tensor cut into tiles of `rows` by `columns` along its last two dimensions; the last ones may be short.

    Rows run along the last dimension, which of weight and activation is the contraction axis of the forward product.

    Attributes:
        rows: of a tile; None: all there are.
        columns: of a tile; None: all there are.
        whole: the whole tensor is one tile, whatever its dimensions.
    """

    rows: int | None = 1
    columns: int | None = None
    whole: bool = False

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, granularity: str) -> Tiling:
        """The tiling with this name: one of `TILINGS`, with numbers in place of its capital letters.

        Raises:
            FormatError: there is none.
        """
        for name, make in TILINGS.items():
            if re.fullmatch(_pattern(name), granularity):
                return make(*map(int, re.findall(SIZE, granularity.partition(":")[2])))
        raise FormatError(f'no granularity "{granularity}"; one of {expected()}')

    @property
    def is_of_rows(self) -> bool:
        """Whether no tile is of more than one row; a subclass has tiles of its own."""
        return type(self) is Tiling and self.rows == 1

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the scales of a tensor of this shape: () for one scale."""
        if self.whole or not shape:
            return ()
        rows, columns = self._sizes(shape)
        counts = -(-shape[-1] // columns)
        return (counts,) if len(shape) == 1 else (*shape[:-2], -(-shape[-2] // rows), counts)

    def reduce(self, magnitude: Tensor) -> Tensor:
        """The largest element of each tile, of `shape`; 0 where there is none. No element is negative."""
        from torch.nn.functional import pad

        shape = self.shape(tuple(magnitude.shape))
        if magnitude.numel() == 0:
            return magnitude.new_zeros(shape)
        if shape == ():
            return magnitude.amax()
        rows, columns = self._sizes(tuple(magnitude.shape))
        blocks = pad(magnitude, (0, shape[-1] * columns - magnitude.shape[-1])).unflatten(-1, (shape[-1], columns))
        result = blocks.amax(dim=-1)
        if rows == 1:
            return result
        padded = pad(result, (0, 0, 0, shape[-2] * rows - result.shape[-2]))
        return padded.unflatten(-2, (shape[-2], rows)).amax(dim=-2)

    def spread(self, scale: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The scale of each element of a tensor of this shape, by broadcasting where that will do.

        Args:
            scale: of `self.shape(shape)`, or of shape () for one scale in all.
        """
        if self.whole or scale.ndim == 0 or not shape:
            return scale
        rows, columns = self._sizes(shape)
        if scale.shape[-1] > 1:
            scale = scale.repeat_interleave(columns, dim=-1)[..., : shape[-1]]
        if rows > 1 and len(shape) > 1 and scale.shape[-2] > 1:
            scale = scale.repeat_interleave(rows, dim=-2)[..., : shape[-2], :]
        return scale

    def block(self, length: int) -> int | None:
        """How many neighbours in a row of this length share a scale; None where the whole tensor shares one.

        Only for tilings of rows.
        """
        if self.whole:
            return None
        return max(length, 1) if self.columns is None else self.columns

    def _sizes(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of a tile, at least 1. A vector is one row."""
        rows = 1 if len(shape) == 1 else shape[-2] if self.rows is None else self.rows
        columns = shape[-1] if self.columns is None else self.columns
        return max(rows, 1), max(columns, 1)


TILINGS: dict[str, Callable[..., Tiling]] = {
    "tensor": lambda: Tiling(None, None, whole=True),
    "row": lambda: Tiling(1, None),
    "column": lambda: Tiling(None, 1),
    "block:N": lambda columns: Tiling(1, columns),
    "tile:RxC": Tiling,
}
"""What makes the tiling of each name; capital letters after the colon stand for whole numbers, its arguments."""


def pattern() -> str:
    """A regular expression of all names of tilings."""
    return f"^(?:{'|'.join(map(_pattern, TILINGS))})$"


def expected() -> str:
    """The names of tilings, as a sentence lists them."""
    return f"{', '.join(TILINGS)}, such as block:32, tile:128x128"


def _pattern(name: str) -> str:
    kind, colon, sizes = name.partition(":")
    return re.escape(kind) + colon + re.sub("[A-Z]", SIZE, sizes)

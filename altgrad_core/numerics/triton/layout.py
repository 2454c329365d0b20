"""How programs share out the tiles of a tensor."""

from __future__ import annotations

from typing import NamedTuple

from altgrad_core.numerics.tiling import Tiling

AT_ONCE = 4096  # elements of one program
COLUMNS_AT_ONCE = 32  # tiles side by side, where each is narrow: reading them together is reading along rows


class Layout(NamedTuple):
    """The tiles of a program, as constants of a kernel.

    Attributes:
        tiles, elements: how many tiles, and how many elements of each at a time; powers of two.
        chunks: how many such times.
        tile_rows, tile_columns: of a tile.
        is_whole: whether no tile is cut short by the end of a row.
        is_big: whether places need 64 bits.
    """

    tiles: int
    elements: int
    chunks: int
    tile_rows: int
    tile_columns: int
    is_whole: bool
    is_big: bool


class Extent(NamedTuple):
    """A tensor as a batch of matrices cut into tiles: `down` by `across` of each."""

    batch: int
    rows: int
    columns: int
    tile_rows: int
    tile_columns: int

    @classmethod
    def of(cls, shape: tuple[int, ...], tiling: Tiling) -> Extent:
        """That of a tensor of this shape, which has elements and at least one dimension."""
        rows = shape[-2] if len(shape) > 1 else 1
        batch = 1
        for size in shape[:-2]:
            batch *= size
        tile_rows = rows if tiling.rows is None else min(tiling.rows, rows)
        tile_columns = shape[-1] if tiling.columns is None else min(tiling.columns, shape[-1])
        return cls(batch, rows, shape[-1], tile_rows, tile_columns)

    @property
    def across(self) -> int:
        """How many tiles lie side by side."""
        return -(-self.columns // self.tile_columns)

    @property
    def down(self) -> int:
        """How many tiles lie one below the other in each matrix."""
        return -(-self.rows // self.tile_rows)

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.batch * self.down * self.across

    def layout(self, *, is_big: bool) -> Layout:
        """The tiles of each program."""
        size = self.tile_rows * self.tile_columns
        is_narrow = self.tile_rows > 1 and self.tile_columns < COLUMNS_AT_ONCE
        most = AT_ONCE // COLUMNS_AT_ONCE if is_narrow else AT_ONCE
        elements = min(power_above(size), most)
        return Layout(
            tiles=min(AT_ONCE // elements, power_above(self.tiles)),
            elements=elements,
            chunks=-(-size // elements),
            tile_rows=self.tile_rows,
            tile_columns=self.tile_columns,
            is_whole=self.columns % self.tile_columns == 0,
            is_big=is_big,
        )


def power_above(number: int) -> int:
    """The least power of two that is not less than a positive number."""
    return 1 << (number - 1).bit_length()

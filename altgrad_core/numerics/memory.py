"""Tensors as kernels read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def side_by_side(x: Tensor) -> Tensor:
    """The elements of a tensor one after another in memory, with the sign that they have there.

    The imaginary part of a conjugate tensor is a view that is negative, and its memory is not.
    """
    return x.detach().contiguous().resolve_neg()

"""Hadamard transforms of blocks: they spread an outlier over its block, and change no product of two operands that both have it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from altgrad_core.errors import FormatError
from altgrad_core.numerics.memory import remembered
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import derive_key


def transformed(x: Tensor, size: int, seed: int | None = None) -> Tensor:
    """x D H of every block of `size` elements along the last dimension, float32, of the shape of `x`.

    H is Sylvester's Hadamard matrix over sqrt(size), which is symmetric and orthogonal, so that (a D H)(b D H)^T = a b^T. D has
    random signs, alike in every block, that follow from `seed` and `size`; none without a seed. It takes log2(size) additions
    an element, in float32 (B. J. Fino and V. R. Algazi, "Unified matrix treatment of the fast Walsh-Hadamard transform", 1976).

    Raises:
        FormatError: the last dimension is no multiple of `size`.
    """
    signed = _blocks(x, size) if seed is None else _blocks(x, size) * _signs(size, seed, x.device)
    return _fast(signed).reshape(x.shape)


def restored(y: Tensor, size: int, seed: int | None = None) -> Tensor:
    """y H D, the inverse of `transformed`."""
    found = _fast(_blocks(y, size))
    return (found if seed is None else found * _signs(size, seed, y.device)).reshape(y.shape)


def in_its_basis(x: Tensor, how: Quantizer) -> Tensor:
    """What a quantizer rounds of `x`: its transform, or `x` itself."""
    return x if how.hadamard is None else transformed(x, how.hadamard, how.hadamard_signs)


def _blocks(x: Tensor, size: int) -> Tensor:
    if x.ndim == 0 or x.shape[-1] % size:
        length = x.shape[-1] if x.ndim else 1
        raise FormatError(
            f"hadamard = {size}: the product sums over {length} elements, which is not a multiple of {size}; choose another size"
        )
    return x.detach().float().unflatten(-1, (-1, size))


def _fast(x: Tensor) -> Tensor:
    """The transform along the last dimension, whose length is a power of two: sums and differences of halves, and again.

    The blocks stand side by side meanwhile, so that the additions of many blocks are one pass over memory.
    """
    size = x.shape[-1]
    columns = x.reshape(-1, size).t().contiguous()
    half = 1
    while half < size:
        first, second = columns.view(size // (2 * half), 2, half, columns.shape[-1]).unbind(1)
        columns = torch.stack((first + second, first - second), 1).view(size, -1)
        half *= 2
    return (columns * (1 / math.sqrt(size))).t().contiguous().view(x.shape)


@remembered
def _signs(size: int, seed: int, device: torch.device) -> Tensor:
    signs = [1.0 if derive_key(seed, "hadamard signs", index) & 1 else -1.0 for index in range(size)]
    return torch.tensor(signs, dtype=torch.float32, device=device)

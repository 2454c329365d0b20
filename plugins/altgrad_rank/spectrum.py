"""Singular values and what is read off them; imports nothing but torch."""

from __future__ import annotations

import torch
from torch import Tensor

from altgrad_rank.stable_rank import near_one, squared_singular_values


def singular_values(weight: Tensor) -> Tensor | None:
    """All of them, float64, descending, of the matrix with the dimensions after the first flattened.

    They are roots of eigenvalues of the smaller Gram matrix, so those below about 1e-8 of the largest are noise.

    Returns:
        None where the weight is not finite.
    """
    matrix, exponent = near_one(weight)
    return None if matrix is None else squared_singular_values(matrix).sqrt().flip(0) * 2.0**exponent


def effective_rank(sigma: Tensor) -> float:
    """exp(-sum p ln p), p = sigma / sum sigma (Roy and Vetterli 2007): from 1 to the rank; 0 for a zero matrix."""
    total = sigma.sum()
    if total == 0:
        return 0.0
    shares = sigma / total
    return float(torch.special.entr(shares).sum().exp())


def rank99(sigma: Tensor) -> int:
    """How many of the largest singular values hold 99 % of sum sigma^2; 0 for a zero matrix."""
    held = (sigma / sigma.max().clamp(min=torch.finfo(sigma.dtype).tiny)).square().cumsum(0)
    enough = 0.99 * held[-1] * (1 - 1e-12)  # of 100 equal ones 99, whichever way the sum was rounded
    return int((held < enough).sum()) + 1 if held[-1] > 0 else 0

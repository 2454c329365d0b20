"""The stable rank, from all singular values; imports nothing but torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def stable_rank(weight: Tensor) -> float | None:
    """|W|_F^2 / |W|_2^2: 1 for a rank-one matrix, at most the rank; 0 for a zero matrix.

    |W|_2^2 is the largest eigenvalue of the smaller Gram matrix, W W^T or W^T W, in float64.

    Args:
        weight: at least two dimensions; those after the first are flattened.

    Returns:
        None where the weight is not finite.
    """
    matrix, _ = near_one(weight)
    if matrix is None:
        return None
    if not matrix.any():
        return 0.0
    squares = squared_singular_values(matrix)
    return float(squares.sum() / squares[-1])


def near_one(weight: Tensor) -> tuple[Tensor | None, int]:
    """The matrix of a weight divided by 2^e, and e; its largest magnitude is in [1/2, 1), or 0.

    No square of it overflows, and none that matters vanishes. A division by a power of two rounds nothing else.

    Returns:
        None and 0 where the weight is not finite.
    """
    matrix = weight.detach().flatten(1).float()
    amax = float(matrix.abs().max()) if matrix.numel() else 0.0
    if not math.isfinite(amax):
        return None, 0
    exponent = math.frexp(amax)[1]
    half = -exponent // 2  # 2^-e alone may be beyond float32
    return matrix * 2.0**half * 2.0 ** (-exponent - half), exponent


def squared_singular_values(matrix: Tensor) -> Tensor:
    """Eigenvalues of the smaller Gram matrix, float64, ascending, none below 0; errors are about 1e-16 of the last."""
    matrix = matrix.double()
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return torch.linalg.eigvalsh(gram).clamp(min=0)

"""The stable rank; imports nothing but torch."""

from __future__ import annotations

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
    matrix = weight.detach().flatten(1).double()
    amax = matrix.abs().max()
    if not torch.isfinite(amax):
        return None
    if amax == 0:
        return 0.0
    matrix = matrix / amax  # so that no square overflows or vanishes
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(gram.trace() / torch.linalg.eigvalsh(gram)[-1])

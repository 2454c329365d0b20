"""The stable rank by power iteration; imports nothing but torch."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-5


def stable_rank(
    weight: Tensor, *, start: Tensor | None = None, iterations: int = 50
) -> tuple[float | None, Tensor | None]:
    """|W|_F^2 / |W|_2^2 and the leading right singular vector, to start from next time.

    Args:
        weight: at least two dimensions; those after the first are flattened.
        start: a vector of shape (in,); by default one that depends only on the shape.
        iterations: at most so many products with W^T W; it stops earlier once |W|_2^2 changes by less than 1e-5.

    Returns:
        (None, None) where the weight is not finite; (0.0, None) where it is zero.
    """
    matrix = weight.detach().flatten(1).float()
    amax = matrix.abs().max()
    if not torch.isfinite(amax):
        return None, None
    if amax == 0:
        return 0.0, None
    matrix = matrix / amax  # so that no square overflows or vanishes
    total = matrix.square().sum()
    vector = _first_vector(matrix.shape[1], matrix.device) if start is None else start.to(matrix.device)
    largest = torch.zeros((), device=matrix.device)
    for _ in range(iterations):
        image = matrix.T @ (matrix @ vector)
        before, largest = largest, image.norm()
        if largest == 0:
            vector = _first_vector(matrix.shape[1], matrix.device)
            continue
        vector = image / largest
        if (largest - before).abs() <= TOLERANCE * largest:
            break
    squared_norm = (matrix @ vector).square().sum()
    return float(total / squared_norm), vector.cpu()


def _first_vector(size: int, device: torch.device) -> Tensor:
    """A unit vector that is orthogonal to nothing in particular, and the same every time."""
    vector = torch.cos(torch.arange(1, size + 1, dtype=torch.float64) ** 2)
    return (vector / vector.norm()).float().to(device)

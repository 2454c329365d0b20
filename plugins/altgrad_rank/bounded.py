"""The stable rank within a proven error, without all singular values; imports nothing but torch.

The largest eigenvalue of a Gram matrix G is approached from below, in a Krylov space that begins at an earlier answer,
and then bounded from above: that G has no eigenvalue beyond b is proven by the Cholesky factors of b I - G, which exist
only if it is positive definite. A residual |G v - l v| alone proves that *some* eigenvalue is near l, not that it is
the largest: an iteration that begins at the second singular vector stays there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from altgrad_rank.stable_rank import near_one, stable_rank

SIZES = (8, 16, 32, 64)  # of the Krylov space, where its best pair is looked at
NOISE = 0.1  # of a fixed random vector in every start, so that no start is blind to the leading vector
ROUNDING = 1e-5  # of float32 products: what is left of a vector below that is not a direction
STRIP = 256  # rows of a Gram matrix computed at once


def bounded_stable_rank(
    weight: Tensor, start: Tensor | None = None, *, tolerance: float = 1e-3
) -> tuple[float | None, Tensor | None]:
    """The stable rank, never below the true one and at most `tolerance` of it above; and where to begin next time.

    Both but for rounding: products are float32, about 1e-6. Where the bound cannot be proven, it is `stable_rank`.

    Args:
        weight: at least two dimensions; those after the first are flattened.
        start: the vector that came back for this weight at an earlier step.

    Returns:
        The rank, None where the weight is not finite; a unit vector, None to start again.
    """
    matrix, _ = near_one(weight)
    if matrix is None:
        return None, None
    total = float(torch.linalg.vector_norm(matrix, dim=1).double().square().sum())
    if total == 0:
        return 0.0, None
    gram = gram_matrix(matrix)
    largest, vector = leading_pair(gram, beginning(start, gram), tolerance=tolerance)
    if not all_eigenvalues_are_below((1 + tolerance) * largest, gram):
        return stable_rank(weight), None
    return min(max(total / largest, 1.0), float(len(gram))), vector


def gram_matrix(matrix: Tensor) -> Tensor:
    """W W^T or W^T W, the smaller; each product of two rows is computed about once."""
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = rows.new_empty(len(rows), len(rows))
    for first in range(0, len(rows), STRIP):
        last = first + STRIP
        strip = rows[first:last] @ rows[first:].T
        gram[first:last, first:] = strip
        gram[first:, first:last] = strip.T
    return gram


def beginning(start: Tensor | None, gram: Tensor) -> Tensor:
    """`start`, if any, and some of a random vector that is the same every time."""
    noise = torch.randn(len(gram), generator=torch.Generator().manual_seed(0)).to(gram)
    return noise if start is None else start.to(gram) + NOISE * noise / noise.norm()


def leading_pair(gram: Tensor, start: Tensor, *, tolerance: float) -> tuple[float, Tensor]:
    """The largest Ritz value of span(v, G v, G^2 v, ...), and its vector (Lanczos, orthogonalized in full).

    The space grows until the error of the value is likely below `tolerance` of it, or to the last of `SIZES`.
    """
    basis, images, ahead = gram[:0], gram[:0], start
    for size in SIZES:
        while len(basis) < size and (fresh := beyond(basis, ahead)) is not None:
            ahead = gram @ fresh
            basis, images = torch.cat([basis, fresh[None]]), torch.cat([images, ahead[None]])
        value, vector, error = ritz_pair(basis, images)
        if error <= tolerance / 4 * value:
            break
    return value, vector


def beyond(basis: Tensor, vector: Tensor) -> Tensor | None:
    """The direction of `vector` outside the span of orthonormal rows; None where only rounding is left."""
    outside = vector
    for _ in range(2):  # twice is enough (Kahan; Parlett 1980)
        outside = outside - (basis @ outside) @ basis
    norm = outside.norm()
    return outside / norm if norm > ROUNDING * vector.norm() else None


def ritz_pair(basis: Tensor, images: Tensor) -> tuple[float, Tensor, float]:
    """The largest Ritz value l, its vector v, and an estimate of the error of l.

    With the residual r = |G v - l v| and the distance d to the next Ritz value: r, or r^2 / d where that is less
    (Parlett 1980, 11.7); an estimate only, since the next eigenvalue may not be in the space.
    """
    values, vectors = torch.linalg.eigh((basis @ images.T).double())
    weights, value = vectors[:, -1].to(basis), float(values[-1])
    vector = weights @ basis
    residual = float((weights @ images - value * vector).norm())
    gap = value - float(values[-2]) if len(values) > 1 else 0.0
    return value, vector, residual * min(1.0, residual / gap) if gap > 0 else residual


def all_eigenvalues_are_below(bound: float, symmetric: Tensor) -> bool:
    """Whether bound I - G has Cholesky factors, in float64."""
    difference = -symmetric.double()
    difference.diagonal().add_(bound)
    return int(torch.linalg.cholesky_ex(difference).info) == 0

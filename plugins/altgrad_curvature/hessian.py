"""Eigenvalues and trace of a symmetric matrix that is known by its products alone; imports nothing but torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

PRODUCTS = 1e-6  # how exact products in float32 are, relative to the largest eigenvalue
DEPENDENT = 1e-4  # below this part of its own, a direction is dropped

Products = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class FlatHessian:
    """A Hessian by layers as one matrix, times float64 vectors of `size` elements; the products are float32.

    Args:
        products: takes and returns tensors of `shapes` by layer.
        device: where they are.
    """

    def __init__(
        self, products: Products, shapes: Mapping[str, tuple[int, ...]], *, device: torch.device | str = "cpu"
    ) -> None:
        self._products, self._shapes, self.device = products, shapes, device
        self.size = sum(map(math.prod, shapes.values()))

    def __call__(self, v: Tensor) -> Tensor:
        """H v, of shape (size,) as `v`."""
        parts = v.float().split([math.prod(shape) for shape in self._shapes.values()])
        directions = {path: part.reshape(self._shapes[path]) for path, part in zip(self._shapes, parts, strict=True)}
        products = self._products(directions)
        return torch.cat([products[path].flatten() for path in self._shapes]).double()


class Eigenpair(NamedTuple):
    """An eigenvalue k, its vector v of length 1, and |Hv - kv|: some true eigenvalue is no further from k than that."""

    value: float
    vector: Tensor
    residual: float


def largest_eigenvalues(
    matrix: FlatHessian, count: int, *, iterations: int, tolerance: float, seed: int
) -> list[Eigenpair]:
    """The eigenvalues of largest magnitude, each by iteration, with deflation; none where products are not finite.

    Args:
        matrix: symmetric.
        count: how many.
        iterations: products for each, at most; two at least.
        tolerance: an iteration ends when the residual is below so much of the eigenvalue.
        seed: of the vectors that it starts from.
    """
    generator = torch.Generator().manual_seed(seed)
    result: list[Eigenpair] = []
    for _ in range(min(count, matrix.size)):
        start = torch.randn(matrix.size, generator=generator, dtype=torch.float64).to(matrix.device)
        pair = _iterate(matrix, _apart(start, result), result, iterations=iterations, tolerance=tolerance)
        if not math.isfinite(pair.value):
            break
        result.append(pair)
    return sorted(result, key=lambda pair: -abs(pair.value))


def _iterate(
    matrix: FlatHessian, start: Tensor, result: list[Eigenpair], *, iterations: int, tolerance: float
) -> Eigenpair:
    """Power iteration made locally optimal, in the space orthogonal to the vectors that are found already.

    The next vector is not H v, but the best in the space of v, H v and the step before, which costs the same product
    and converges like the conjugate gradient method (Knyazev, 2001, without preconditioner).
    """
    vectors = functional.normalize(start, dim=0)[:, None]
    images = matrix(vectors[:, 0])[:, None]
    noise = PRODUCTS * max((abs(pair.value) for pair in result), default=0.0)
    for _ in range(iterations - 2):
        vector, image = vectors[:, 0], images[:, 0]
        value = float(vector @ image)
        rest = _apart(image, result) - value * vector
        if not rest.norm() > max(tolerance * abs(value), noise):  # NaN ends it too
            break
        direction = functional.normalize(_apart(rest / rest.norm(), result), dim=0)
        product = matrix(direction)
        if not product.isfinite().all():
            break
        vectors, images = _best(
            torch.stack([vector, direction, *vectors[:, 1:].unbind(1)], dim=1),
            torch.stack([image, product, *images[:, 1:].unbind(1)], dim=1),
        )
    return _eigenpair(matrix, functional.normalize(vectors[:, 0], dim=0))


def _eigenpair(matrix: FlatHessian, vector: Tensor) -> Eigenpair:
    """What `vector` tells, by a product of its own; those on the way to it are combined, and not quite as exact."""
    image = matrix(vector)
    value = float(vector @ image)
    return Eigenpair(value, vector, float((image - value * vector).norm()))


def _best(vectors: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """The Ritz vector of largest magnitude in the space of two or three vectors, and the step to it, with their images.

    Args:
        vectors: the present one and those to search along, shape (size, 2 or 3).
        images: their products.
    """
    size = len(vectors)
    basis, factors = torch.linalg.qr(vectors[:, :size])
    kept = factors.diagonal().abs() > DEPENDENT  # the last may lie in the plane of the others
    basis, images = basis[:, kept], images[:, :size][:, kept]
    images = torch.linalg.solve_triangular(factors[kept][:, kept], images, upper=True, left=False)
    small = basis.T @ images
    values, ritz = torch.linalg.eigh((small + small.T) / 2)
    best = ritz[:, values.abs().argmax()]
    step = torch.cat([best.new_zeros(1), best[1:]])
    both = torch.stack([best, functional.normalize(step, dim=0)], dim=1)
    return basis @ both, images @ both


def _apart(vector: Tensor, result: list[Eigenpair]) -> Tensor:
    """What of a vector is orthogonal to those that are found."""
    for pair in result:
        vector = vector - (vector @ pair.vector) * pair.vector
    return vector


def hutchinson(matrix: FlatHessian, probes: int, *, seed: int) -> tuple[float, float]:
    """The trace, as the mean of v H v over random vectors of +1 and -1, and its standard error.

    M. Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989. NaN is what too few probes leave
    undefined.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(probes):
        signs = torch.randint(2, (matrix.size,), generator=generator).double().mul(2).sub(1).to(matrix.device)
        samples.append(float(signs @ matrix(signs)))
    values = torch.tensor(samples, dtype=torch.float64)
    error = float(values.std() / math.sqrt(probes)) if probes > 1 else math.nan
    return float(values.mean()), error

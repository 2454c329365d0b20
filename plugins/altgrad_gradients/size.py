"""The size of gradients; imports nothing but torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def norms(gradients: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """The L2 norm, in float64, and the largest magnitude of each tensor; those with NaN and empty ones are left out."""
    filled = {path: gradient for path, gradient in gradients.items() if gradient.numel()}
    if not filled:
        return {}
    pairs = torch.stack([_norms(gradient) for gradient in filled.values()]).tolist()
    return {path: (l2, linf) for path, (l2, linf) in zip(filled, pairs, strict=True) if not math.isnan(l2)}


def _norms(gradient: Tensor) -> Tensor:
    exact = gradient.double()  # the square of a float32 may be beyond float32
    return torch.stack([torch.linalg.vector_norm(exact), torch.linalg.vector_norm(exact, torch.inf)])

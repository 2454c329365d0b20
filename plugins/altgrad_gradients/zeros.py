"""Gradients that are exactly zero; imports nothing but torch."""

from __future__ import annotations

from torch import Tensor


def sparsity(gradient: Tensor) -> Tensor:
    """The fraction of elements that are zero, of either sign, as a float64 scalar; NaN is not zero."""
    return (gradient == 0).double().mean()


def zero_regions(gradient: Tensor) -> Tensor:
    """The fraction of elements in rows or columns that are zero throughout, as a float64 scalar.

    Args:
        gradient: at least two dimensions; those after the first are flattened.
    """
    some = gradient.flatten(1) != 0
    return 1 - some.any(dim=1).double().mean() * some.any(dim=0).double().mean()

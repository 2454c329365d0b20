"""Where weights lie on a grid: spacing, distance from the rungs, use of the rungs; imports nothing but torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from altgrad_geometry.tables import kept, nothing, quantiles


def smallest_gap(values: Sequence[float], scale: Tensor) -> Tensor:
    """The smallest distance between neighbours of a grid at each scale; float32, of the shape of `scale`."""
    gap = min(high - low for low, high in pairwise(values))
    return (scale.double() * gap).float()


def stiffness_statistics(weight: Tensor, spacing: Tensor, narrowest: Tensor) -> Tensor:
    """Mean, smallest, 10 %, 50 %, 90 % quantile and largest of `spacing`, and how much of it is `narrowest`.

    Args:
        weight, spacing: of one shape; elements that are not finite count nowhere.
        narrowest: the smallest spacing there is; it broadcasts to that shape.
    """
    widths, at_least = kept(weight.isfinite(), spacing, narrowest.expand_as(spacing))
    if not len(widths):
        return nothing(weight, 7)
    smallest, largest = widths.aminmax()
    parts = (widths.double().mean(), smallest, *quantiles(widths), largest, (widths == at_least).double().mean())
    return torch.stack([part.double() for part in parts])


def alignment_statistics(weight: Tensor, nearest: Tensor, spacing: Tensor) -> Tensor:
    """Mean, 10 %, 50 % and 90 % quantile of |weight - nearest| / spacing, and how much of `weight` is `nearest`.

    Args:
        weight, nearest, spacing: of one shape; elements of `weight` that are not finite count nowhere.
    """
    values, rungs, widths = kept(weight.isfinite(), weight, nearest, spacing)
    if not len(values):
        return nothing(weight, 5)
    distance = (values.double() - rungs.double()).abs() / widths.double()
    on_grid = (distance == 0).double().mean()
    return torch.stack([distance.mean(), *quantiles(distance), on_grid])


def code_statistics(weight: Tensor, rungs: Tensor, ends: tuple[int, int]) -> Tensor:
    """Used rungs over all, entropy of their histogram in bits, and how much is on the first or the last.

    Nothing is fetched from a device.

    Args:
        weight, rungs: of one shape; elements of `weight` that are not finite count nowhere.
        ends: the numbers of the lowest and of the highest rung.
    """
    lowest, highest = ends
    places = (rungs.flatten() - lowest).long().clamp(0, highest - lowest)
    counts = places.new_zeros(highest - lowest + 1).scatter_add_(0, places, weight.isfinite().flatten().long())
    total = counts.sum()
    share = counts.double() / total
    used = (counts > 0).double().mean()
    row = torch.stack([used, torch.special.entr(share).sum() / math.log(2.0), share[0] + share[-1]])
    return torch.where(total > 0, row, torch.nan)

"""Gradients and steps against the spacing of the grid; imports nothing but torch."""

from __future__ import annotations

import torch
from torch import Tensor

from altgrad_geometry.tables import correlation, kept, nothing, slope, variation


def gradient_stiffness(weight: Tensor, gradient: Tensor, spacing: Tensor) -> Tensor:
    """Pearson's correlation of log |gradient| and log spacing, of shape (1,); NaN where undefined.

    Args:
        weight, gradient, spacing: of one shape; elements where `weight` is not finite or `gradient` is zero or not
            finite count nowhere.
    """
    keep = weight.isfinite() & gradient.isfinite() & (gradient != 0)
    sizes, widths = kept(keep, gradient.abs(), spacing)
    return correlation(sizes.double().log2(), widths.double().log2()).reshape(1)


def step_statistics(
    weights: tuple[Tensor, Tensor],
    positions: tuple[Tensor, Tensor],
    spacing: Tensor,
    gradient: Tensor | None,
) -> Tensor:
    """Slope of log rungs moved over log spacing, variation of rungs moved and of way gone, and small moves.

    Args:
        weights, positions: before and after the step, all of one shape; positions in rungs.
        spacing: before the step.
        gradient: elements where it is not zero count as updates; None: there is no saying.
    """
    (before, after), (start, end) = weights, positions
    sound = before.isfinite() & after.isfinite()
    rungs, way = (end - start).abs(), (after.double() - before.double()).abs()
    moved_rungs, moved_way, widths = kept(sound & (rungs > 0), rungs, way, spacing)
    below_half = nothing(rungs)
    if gradient is not None:
        (of_updates,) = kept(sound & (gradient != 0), rungs)
        below_half = (of_updates < 0.5).double().mean()  # NaN of none
    line = slope(widths.double().log2(), moved_rungs.log2())
    return torch.stack([line, variation(moved_rungs), variation(moved_way), below_half])

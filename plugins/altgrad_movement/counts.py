"""Counting movement; imports nothing but torch."""

from __future__ import annotations

import torch
from torch import Tensor


def count_movement(before: Tensor, after: Tensor, gradient: Tensor) -> tuple[int, int, int]:
    """Flips, updates, and flips among updates, of one weight in one step.

    Args:
        before, after: the nearest rung of every element, integers of one shape.
        gradient: of the same shape; an element with a non-zero gradient is an update.
    """
    flipped, updated = before != after, gradient != 0
    counts = torch.stack([flipped.sum(), updated.sum(), (flipped & updated).sum()]).tolist()
    return counts[0], counts[1], counts[2]

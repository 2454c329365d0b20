"""Counting movement in whole rungs; imports nothing but torch. Counts are int64 tensors, so that no step waits for them.

A weight with a NaN has no rungs: every count of it is 0, the number of its elements included.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOST_REVERSALS = 126
"""As many reversals of one weight as an int8 can hold beside its direction."""


def count_stalls(before: Tensor, after: Tensor, *, gradient: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    """Bit stalls, zero updates, updates, and elements, of one weight in one step.

    Args:
        before, after: the nearest rung of every element, integers of one shape.
        gradient: of the same shape.
        weights: before and after the step, of the same shape.
    """
    updated = gradient != 0
    same_rung, same_value = before == after, weights[0] == weights[1]
    return _counted(weights[1], same_rung & updated, same_value & updated, updated)


def count_reversals(before: Tensor, after: Tensor, *, history: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Reversals, flips of elements that had flipped before, and elements, in one step; and the history after it.

    Args:
        before, after: the nearest rung of every element, integers of one shape.
        history: int8 of the same shape: 0 for an element that has not flipped, else the direction of its last flip
            times (1 + its reversals, at most 126). On any device; None before the first step.
        weight: after the step, of the same shape.
    """
    history = torch.zeros_like(after, dtype=torch.int8) if history is None else history.to(after.device)
    flipped = ((before != after) & ~_has_nan(weight)).flatten().nonzero().squeeze(1)  # few: the rest is not touched
    direction = (after.flatten()[flipped] > before.flatten()[flipped]).to(torch.int8) * 2 - 1
    last = history.flatten()[flipped]
    reversed_, repeated = direction * last < 0, last != 0
    magnitude = (last.abs() + (reversed_ & (last.abs() <= MOST_REVERSALS))).clamp(min=1)
    later = history.flatten().index_copy(0, flipped, direction * magnitude).view_as(history)
    return _counted(weight, reversed_, repeated), later


def shares_reversed(histories: dict[str, Tensor], *, times: int) -> dict[str, float]:
    """By layer, the share of elements with at least so many reversals, from 1 to 126; in one transfer."""
    counts = transferred([torch.count_nonzero(history.abs() > times) for history in histories.values()])
    return {path: count / histories[path].numel() for path, count in zip(histories, counts, strict=True)}


def add(window: dict[str, Tensor], path: str, counts: Tensor) -> None:
    """Add the counts of one step to those of a layer."""
    window[path] = counts + window[path].to(counts.device) if path in window else counts


def as_integers(window: dict[str, Tensor]) -> dict[str, list[int]]:
    """The counts of every layer, in one transfer; layers of which no element was counted are left out."""
    rows = transferred(list(window.values()))
    return {path: row for path, row in zip(window, rows, strict=True) if row[-1]}


def transferred(tensors: list[Tensor]) -> list[Any]:
    """Plain numbers of tensors of one shape; after a resume, some that were not added to are on another device."""
    return torch.stack([tensor.to(tensors[-1].device) for tensor in tensors]).tolist() if tensors else []


def _counted(weight: Tensor, *masks: Tensor) -> Tensor:
    """How many elements of each mask are not zero, and the number of elements; all 0 where a weight is NaN."""
    counts = [torch.count_nonzero(mask) for mask in masks]  # of a bool twenty times faster than sum
    counts.append(torch.full_like(counts[0], weight.numel()))
    return torch.stack(counts) * ~_has_nan(weight)


def _has_nan(weight: Tensor) -> Tensor:
    """Whether an element is NaN; a tensor of shape (), in one pass."""
    return weight.amax().isnan() if weight.numel() else torch.zeros((), dtype=torch.bool, device=weight.device)

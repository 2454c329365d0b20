"""From weights, paths and steps to launches of the kernels that move weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from altgrad_core.numerics.memory import side_by_side
from altgrad_core.numerics.moves import MOST_RUNGS, Moved, Path, Step
from altgrad_core.numerics.random import GROUP, Key
from altgrad_core.numerics.triton import walk as kernels
from altgrad_core.numerics.triton.facts import line_of
from altgrad_core.numerics.triton.launch import MOST, Counts, as_int32, each_scale, launch

BLOCK = 1024


class Adam(NamedTuple):
    """What the pass needs of Adam beside the moments: beta1, beta2, their complements, and eps."""

    beta1: float
    beta2: float
    rest1: float
    rest2: float
    eps: float

    @classmethod
    def of(cls, betas: tuple[float, float], eps: float) -> Adam:
        """Of these rates."""
        return cls(*betas, 1 - betas[0], 1 - betas[1], eps)


def adam_walk(
    weight: Tensor, gradient: Tensor, state: Mapping[str, Any], path: Path, step: Step, *, adam: Adam
) -> Moved:
    """See `walk.adam_walk`; the pass counts the step."""
    taken, trail = state["step"], state.get("bit_position")
    beside = taken.to(weight.device)  # itself, unless it was counted on the host
    moments = state["exp_avg"], state["exp_avg_sq"]
    moved = walk(weight, gradient, moments, path, step, trail=trail, kind="adam", taken=beside, adam=adam)
    if beside is not taken:
        taken += 1
    return moved


def walk(
    weight: Tensor,
    gradient: Tensor,
    sources: tuple[Tensor, ...],
    path: Path,
    step: Step,
    *,
    trail: Tensor | None,
    **how: Any,
) -> Moved:
    """See `walk.walk`.

    Args:
        sources: the direction, or the two moments of Adam.
        how: of Adam, `kind`, the steps that were `taken`, and its numbers.
    """
    counts, size = Counts.on(weight), weight.numel()
    tensors = _flat(weight, gradient, sources[0], sources[-1], weight if trail is None else trail)
    each = each_scale(path.scale, weight)
    numbers = (*_numbers(step, step.bound), float(step.momentum or 0.0))
    constants = {
        **_traits(path, step, trail),
        "LINE": line_of(path.line),
        "KIND": how.get("kind") or _kind(step),
        "ADAM": how.get("adam"),
        "APIECE": each.numel() > 1,
        "BIG": size > MOST,
        "BLOCK": BLOCK,
    }
    taken = how.get("taken", each)
    launch(
        kernels.walk_pass, -(-size // BLOCK), weight, *tensors, each, counts.cells, taken, size, *numbers, **constants
    )
    return _moved(counts, trail, ends=False)


def stochastic_walk(
    weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None, key: Key
) -> Moved:
    """See `walk.stochastic_walk`."""
    counts, size, each = Counts.on(weight), weight.numel(), each_scale(path.scale, weight)
    tensors = _flat(weight, gradient, direction, weight if trail is None else trail)
    halves = (key, 0) if isinstance(key, Tensor) else (as_int32(key), as_int32(key >> 32))
    numbers = (*_numbers(step, min(step.bound, MOST_RUNGS)), float(step.momentum or 0.0), *halves)
    constants = {
        **_traits(path, step, trail),
        "LOADS_KEY": isinstance(key, Tensor),
        "KIND": _kind(step),
        "DECAYS": isinstance(step.keep, Tensor) or step.keep != 1,
        "APIECE": each.numel() > 1,
        "BIG": size > MOST,
    }
    programs = -(-size // GROUP)
    launch(
        kernels.stochastic_walk_pass,
        programs,
        weight,
        *tensors,
        each,
        counts.cells,
        size,
        *numbers,
        warps=2,
        **constants,
    )
    return _moved(counts, trail, ends=True)


def _kind(step: Step) -> str:
    return "direction" if step.momentum is None else "velocity"


def _traits(path: Path, step: Step, trail: Tensor | None) -> dict[str, Any]:
    return {
        "LOADS_RUNGS": isinstance(step.rungs, Tensor),
        "LOADS_KEEP": isinstance(step.keep, Tensor),
        "R": line_of(path.format),
        "COUNTED": trail is not None,
    }


def _numbers(step: Step, bound: float) -> tuple[float | Tensor, ...]:
    """Rungs, bound, and what decay leaves; those that are tensors are not waited for."""
    rungs = (step.rungs, 0.0, 0.0) if isinstance(step.rungs, Tensor) else _three(float(step.rungs))
    return *rungs, float(bound), step.keep if isinstance(step.keep, Tensor) else float(step.keep)


def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> Tensor:
    """See `walk.update_velocity`; the norm, float64 of shape ()."""
    size = velocity.numel()
    programs = -(-size // BLOCK)
    squares = torch.empty(programs, dtype=torch.float64, device=velocity.device)
    flat = _flat(velocity, gradient)
    launch(
        kernels.velocity_pass, programs, velocity, *flat, squares, size, float(momentum), BIG=size > MOST, BLOCK=BLOCK
    )
    return squares.sum().sqrt()


def _flat(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(side_by_side(x).view(-1) for x in tensors)


def _three(value: float) -> tuple[float, float, float]:
    """Three float32 numbers whose sum a float64 is."""
    upper = float(np.float32(value))
    middle = float(np.float32(value - upper)) if math.isfinite(upper) else 0.0
    return upper, middle, value - upper - middle if math.isfinite(upper) else 0.0


def _moved(counts: Counts, trail: Tensor | None, *, ends: bool) -> Moved:
    _, broken, updates, flips, ended, *_ = counts.cells.unbind()
    return Moved(broken, updates, flips if ends or trail is not None else None, ended if ends else 0)

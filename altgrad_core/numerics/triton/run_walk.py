"""From weights, paths and steps to launches of the kernels that move weights."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from altgrad_core.numerics.moves import MOST_RUNGS, Moved, Path, Step
from altgrad_core.numerics.random import GROUP
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


def walk(
    weight: Tensor,
    gradient: Tensor,
    sources: tuple[Tensor, ...],
    path: Path,
    step: Step,
    *,
    trail: Tensor | None,
    adam: Adam | None,
) -> Moved:
    """See `walk.walk` and `walk.adam_walk`; sources: the direction, or the two moments of Adam."""
    counts, size = Counts.on(weight), weight.numel()
    kind = "adam" if adam else "direction" if step.momentum is None else "velocity"
    numbers = adam or Adam(step.momentum or 0.0, 0.0, 0.0, 0.0, 0.0)
    tensors = _flat(weight, gradient, sources[0], sources[-1], weight if trail is None else trail)
    each = each_scale(path.scale, weight)
    rungs, factor = _number(step.rungs, weight, torch.float32)
    rest = (each, rungs, counts.cells, size, factor, float(step.bound), float(step.keep), *map(float, numbers))
    traits: dict[str, Any] = {
        "LINE": line_of(path.line),
        "R": line_of(path.format),
        "KIND": kind,
        "COUNTED": trail is not None,
    }
    traits["ON_DEVICE"] = isinstance(step.rungs, Tensor)
    constants = {**traits, "APIECE": each.numel() > 1, "BIG": size > MOST, "BLOCK": BLOCK}
    launch(kernels.walk_pass, -(-size // BLOCK), weight, *tensors, *rest, **constants)
    return _moved(counts, trail, ends=False)


def stochastic_walk(
    weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None, key: int
) -> Moved:
    """See `walk.stochastic_walk`."""
    counts, size, each = Counts.on(weight), weight.numel(), each_scale(path.scale, weight)
    tensors = _flat(weight, gradient, direction, weight if trail is None else trail)
    rungs, factor = _number(step.rungs, weight, torch.float64)
    plain = (*_three(factor), min(step.bound, MOST_RUNGS), float(step.keep), float(step.momentum or 0.0))
    numbers = (*plain, as_int32(key), as_int32(key >> 32))
    kind = "direction" if step.momentum is None else "velocity"
    traits: dict[str, Any] = {
        "R": line_of(path.format),
        "KIND": kind,
        "DECAYS": step.keep != 1,
        "COUNTED": trail is not None,
    }
    traits["ON_DEVICE"] = isinstance(step.rungs, Tensor)
    constants = {**traits, "APIECE": each.numel() > 1, "BIG": size > MOST}
    programs = -(-size // GROUP)
    launch(
        kernels.stochastic_walk_pass, programs, weight, *tensors, each, rungs, counts.cells, size, *numbers,
        warps=2, **constants,
    )  # fmt: skip
    return _moved(counts, trail, ends=True)


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


def fits(gradient: Tensor, *tensors: Tensor | None) -> bool:
    """Whether the kernels take a gradient of this type, and can update the others in place, none of which is empty."""
    kinds = (torch.float32, torch.int32)
    return gradient.dtype == torch.float32 and all(
        x is None or (x.is_contiguous() and x.dtype in kinds and x.numel() > 0) for x in tensors
    )


def _flat(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.detach().contiguous().view(-1) for x in tensors)


def _number(value: float | Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """A number that is a tensor, which is not waited for, or one that is none; and something in the place of the other."""
    if isinstance(value, Tensor):
        return value.detach().to(weight.device, dtype).reshape(1), 0.0
    return weight.detach().view(-1), float(value)


def _three(value: float) -> tuple[float, float, float]:
    """Three float32 numbers whose sum a float64 is."""
    upper = float(np.float32(value))
    middle = float(np.float32(value - upper)) if math.isfinite(upper) else 0.0
    return upper, middle, value - upper - middle if math.isfinite(upper) else 0.0


def _moved(counts: Counts, trail: Tensor | None, *, ends: bool) -> Moved:
    _, broken, updates, flips, ended, *_ = counts.cells.unbind()
    return Moved(broken, updates, flips if ends or trail is not None else None, ended if ends else 0)


def adam_step(
    count: float, rungs: float | Tensor, betas: tuple[float, float], eps: float
) -> tuple[float | Tensor, Adam]:
    """The factor and the numbers of Adam's direction after so many steps: d = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)."""
    (beta1, beta2), root = betas, math.sqrt(1 - betas[1] ** count)
    return rungs * root / (1 - beta1**count), Adam(beta1, beta2, 1 - beta1, 1 - beta2, eps * root)

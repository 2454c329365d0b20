"""Moving a weight along its grid, in place: by Adam's direction, by any direction, or by whole rungs.

On a CPU each is one compiled pass; tensors of other devices or types, and formats that are no eXmY, take the same steps
by tensor operations in float64.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from altgrad_core.numerics import kernels
from altgrad_core.numerics.adamw import adam_direction
from altgrad_core.numerics.random import philox_words

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.geometry import Geometry


MOST_RUNGS = 2.0**29  # of a hop: whole numbers of float32 that do not wrap around as int32


class Moved(NamedTuple):
    """What a step did to the elements of one weight: numbers on the CPU, tensors of shape () elsewhere.

    Attributes:
        broken: gradients that were no finite numbers; those elements stay as they are, and so does their state.
        updates: finite gradients that were not zero.
        flips: elements whose nearest rung changed, at the scale in force; None where no trail is kept.
        ended: elements that a whole rung would have led beyond the grid, and which stopped at its end.
    """

    broken: int | Tensor
    updates: int | Tensor
    flips: int | Tensor | None = None
    ended: int | Tensor = 0


def adam_walk(
    weight: Tensor,
    gradient: Tensor,
    state: MutableMapping[str, Any],
    geometry: Geometry,
    *,
    rungs: float,
    betas: tuple[float, float],
    eps: float,
    decay: float = 0.0,
) -> Moved:
    """w <- u^-1(u((1 - decay) w) - rungs d), where d is Adam's direction m / (sqrt(v) + eps) and u the rung position.

    Args:
        state: as `begin_moments` makes it, updated; its `bit_position`, int32 of the shape of the weight, if there is
            one, takes in by how many rungs each element went.
        rungs: how many rungs a direction of 1 leads.
    """
    trail = state.get("bit_position")
    if not geometry.walks(weight):
        r = rungs * adam_direction(gradient, state, betas=betas, eps=eps)
        return _walked_generally(weight, gradient, r, geometry, _left(decay), trail)
    state["step"] += 1
    count, (beta1, beta2) = float(state["step"]), betas
    root = math.sqrt(1 - beta2**count)  # d = m / (1 - beta1^t) / (sqrt(v) / root + eps)
    factor = rungs * root / (1 - beta1**count)
    numbers = (factor, math.inf, _left(decay), beta1, beta2, 1 - beta1, 1 - beta2, eps * root)
    return _walked(weight, gradient, (state["exp_avg"], state["exp_avg_sq"]), geometry, numbers, trail)


def walk(
    weight: Tensor,
    direction: Tensor,
    geometry: Geometry,
    *,
    gradient: Tensor,
    rungs: float | Tensor = 1.0,
    bound: float = math.inf,
    decay: float = 0.0,
    momentum: float | None = None,
    trail: Tensor | None = None,
) -> Moved:
    """w <- u^-1(u((1 - decay) w) - r), where r is `rungs` times the direction, and at most `bound`.

    Args:
        direction: float32, of the shape of the weight.
        gradient: likewise; where it is no finite number the weight stays as it is.
        decay: 1 or more leaves nothing of the weight.
        momentum: the direction is a velocity, which first becomes `momentum` times itself plus the gradient, in place.
        trail: int32, of the shape of the weight; takes in by how many rungs each element went.
    """
    is_compiled = geometry.walks(weight)
    momentum = _still_to_take(direction, gradient, momentum, is_compiled=is_compiled)
    if is_compiled:
        numbers = (float(rungs), bound, _left(decay), *(() if momentum is None else (momentum,)))
        return _walked(weight, gradient, (direction,), geometry, numbers, trail)
    r = (direction * rungs).clamp(-bound, bound)
    return _walked_generally(weight, gradient, r, geometry, _left(decay), trail)


def hop(
    weight: Tensor,
    direction: Tensor,
    geometry: Geometry,
    *,
    gradient: Tensor,
    key: int,
    rungs: float | Tensor = 1.0,
    bound: float = math.inf,
    decay: float = 0.0,
    momentum: float | None = None,
    trail: Tensor | None = None,
) -> Moved:
    """As `walk`, but to a rung: r is rounded to a whole number by chance, to either neighbour, unbiased.

    Args:
        key: names the stream of random numbers; the number of an element names its own.
    """
    bound = min(bound, MOST_RUNGS)
    is_compiled = geometry.walks(weight)
    momentum = _still_to_take(direction, gradient, momentum, is_compiled=is_compiled)
    if is_compiled:
        facts = {"format": geometry.format, "scale": geometry.scale}
        numbers = (float(rungs), bound, _left(decay), *(() if momentum is None else (momentum,)))
        counts = kernels.hop(weight, gradient, direction, numbers=numbers, trail=trail, key=key, **facts)
        return Moved(counts[1], counts[2], counts[3], counts[4])
    at = geometry.rung(weight)
    lag = geometry.position(weight) - geometry.position(weight * _left(decay)) if decay else 0.0
    r = (direction.double() * rungs).clamp(-bound, bound) + lag
    low = r.floor()
    chance = (philox_words(key, r.numel(), device=r.device) >> 8).view(r.shape)
    up = ((r - low) * 2.0**24).floor().long() + chance >= 2**24
    whole = gradient.isfinite() & weight.isfinite() & r.isfinite()
    aim = at - (low + up).nan_to_num(0.0, 0.0, 0.0).to(at.dtype)
    rung = aim.clamp(geometry.lowest_rung, geometry.highest_rung)
    went = (rung - at).where(whole, 0)
    weight.copy_(geometry.value(rung).to(weight.dtype).where(whole, weight))
    if trail is not None:
        trail += went
    sound = gradient.isfinite()
    updates = (sound & (gradient != 0)).sum()
    return Moved((~sound).sum(), updates, (went != 0).sum(), (whole & (rung != aim)).sum())


def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> float | Tensor:
    """velocity <- momentum * velocity + gradient, in place; where the gradient is no finite number it stays as it is.

    Returns:
        The norm of the velocity: a number from the compiled path, elsewhere a tensor of shape ().
    """
    if kernels.moves(velocity):
        return kernels.update_velocity(velocity, gradient, momentum)
    import torch

    _take_in(velocity, gradient, momentum)
    return torch.linalg.vector_norm(velocity, dtype=torch.float64)


def _take_in(velocity: Tensor, gradient: Tensor, momentum: float) -> None:
    velocity.copy_((velocity * momentum + gradient).where(gradient.isfinite(), velocity))


def _still_to_take(direction: Tensor, gradient: Tensor, momentum: float | None, *, is_compiled: bool) -> float | None:
    """The momentum that the compiled pass is to take, where it can; else it is taken here, and None is left."""
    if momentum is None or (is_compiled and kernels.moves(direction)):
        return momentum
    _take_in(direction, gradient, momentum)
    return None


def _left(decay: float) -> float:
    return max(0.0, 1 - decay)


def _walked(
    weight: Tensor,
    gradient: Tensor,
    sources: tuple[Tensor, ...],
    geometry: Geometry,
    numbers: tuple[float, ...],
    trail: Tensor | None,
) -> Moved:
    facts = {"line": geometry.line, "format": geometry.format, "scale": geometry.scale}
    counts = kernels.walk(weight, gradient, sources, numbers=numbers, trail=trail, **facts)
    return Moved(counts[1], counts[2], None if trail is None else counts[3])


def _walked_generally(
    weight: Tensor, gradient: Tensor, rungs: Tensor, geometry: Geometry, keep: float, trail: Tensor | None
) -> Moved:
    kept = weight * keep
    goes = gradient.isfinite() & rungs.isfinite() & kept.isfinite()
    walked = geometry.value(geometry.position(kept) - rungs.double()).to(weight.dtype)
    new = walked.where(rungs != 0, kept).where(goes, weight)
    flips = None
    if trail is not None:
        went = geometry.rung(new) - geometry.rung(weight)
        trail += went
        flips = (went != 0).sum()
    weight.copy_(new)
    whole = gradient.isfinite()
    return Moved((~whole).sum(), (whole & (gradient != 0)).sum(), flips)

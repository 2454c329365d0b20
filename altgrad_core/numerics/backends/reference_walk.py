"""Positions along a grid, and moves of weights along it, as their definitions have them: the second half of `reference`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from altgrad_core.numerics.adamw import adam_direction
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.grid import Grid
from altgrad_core.numerics.memory import remembered
from altgrad_core.numerics.moves import MOST_RUNGS, Moved, Path, Step
from altgrad_core.numerics.random import Key, philox_words
from altgrad_core.numerics.rounding import grid_tensor, round_to_index

if TYPE_CHECKING:
    from torch import Tensor


def rung(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.rung`."""
    import torch

    return (round_to_index(_scaled(x, scale), format.grid) - format.grid.origin).to(torch.int32)


def position(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.position`."""
    values, gaps = grid_tensor(format.grid, x.device), _gaps(format.grid, x.device)
    scaled = x.detach().double() / scale.double()
    cell = _cell(scaled, values)
    anchor = cell + (scaled < 0)  # the end of the cell nearer to zero: tiny values keep their digits
    return (anchor - format.grid.origin) + (scaled - values[anchor]) / gaps[cell]


def value(u: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.value`."""
    values, gaps = grid_tensor(format.grid, u.device), _gaps(format.grid, u.device)
    cell = (u.floor().long() + format.grid.origin).clamp(0, len(gaps) - 1)
    anchor = cell + (u < 0)
    return ((values[anchor] + (u - (anchor - format.grid.origin)) * gaps[cell]) * scale.double()).float()


def spacing(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.spacing`."""
    import torch

    values, gaps = grid_tensor(format.grid, x.device), _gaps(format.grid, x.device)
    scaled = _scaled(x, scale).double()
    away_below = (torch.searchsorted(values, scaled.contiguous()) - 1).clamp(0, len(gaps) - 1)
    cell = torch.where(scaled < 0, away_below, _cell(scaled, values))
    return (gaps[cell] * scale.double()).float()


def movement(before: Tensor, after: Tensor, gradient: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.movement`."""
    return counted(rung(before, format, scale), rung(after, format, scale), gradient, after)


def counted(before: Tensor, after: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """The counts of `Geometry.movement` from the rungs before and after a step, and the weight after it."""
    import torch

    flipped, updated = before != after, gradient != 0
    counts = [torch.count_nonzero(mask) for mask in (flipped, updated, flipped & updated)]
    counts.append(torch.full_like(counts[0], weight.numel()))
    result = torch.stack(counts)
    return result * ~weight.amax().isnan() if weight.numel() else result


def adam_walk(
    weight: Tensor,
    gradient: Tensor,
    state: MutableMapping[str, Any],
    path: Path,
    step: Step,
    *,
    betas: tuple[float, float],
    eps: float,
) -> Moved:
    """See `walk.adam_walk`."""
    r = step.rungs * adam_direction(gradient, state, betas=betas, eps=eps)
    return _moved(weight, gradient, r, path, step.keep, state.get("bit_position"))


def walk(weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None) -> Moved:
    """See `walk.walk`."""
    take_in(direction, gradient, step.momentum)
    r = (direction * step.rungs).clamp(-step.bound, step.bound)
    return _moved(weight, gradient, r, path, step.keep, trail)


def stochastic_walk(
    weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None, key: Key
) -> Moved:
    """See `walk.stochastic_walk`."""
    take_in(direction, gradient, step.momentum)
    format, scale, bound = path.format, path.scale, min(step.bound, MOST_RUNGS)
    at, lag = rung(weight, format, scale), 0.0
    if not isinstance(step.keep, (int, float)) or step.keep != 1:
        lag = position(weight, format, scale) - position(weight * step.keep, format, scale)  # type: ignore[assignment]
    r = (direction.double() * step.rungs).clamp(-bound, bound) + lag
    low = r.floor()
    chance = (philox_words(key, r.numel(), device=r.device) >> 8).view(r.shape)
    up = ((r - low) * 2.0**24).floor().long() + chance >= 2**24
    whole = gradient.isfinite() & weight.isfinite() & r.isfinite()
    aim = at - (low + up).nan_to_num(0.0, 0.0, 0.0).to(at.dtype)
    goal = aim.clamp(-format.grid.origin, len(format.grid) - 1 - format.grid.origin)
    went = (goal - at).where(whole, 0)
    weight.copy_(value(goal.double(), format, scale).to(weight.dtype).where(whole, weight))
    if trail is not None:
        trail += went
    sound = gradient.isfinite()
    updates = (sound & (gradient != 0)).sum()
    return Moved((~sound).sum(), updates, (went != 0).sum(), (whole & (goal != aim)).sum())


def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> Tensor:
    """See `walk.update_velocity`."""
    import torch

    take_in(velocity, gradient, momentum)
    return torch.linalg.vector_norm(velocity, dtype=torch.float64)


def take_in(velocity: Tensor, gradient: Tensor, momentum: float | None) -> None:
    """velocity <- momentum * velocity + gradient, in place, where the gradient is a finite number; nothing for None."""
    if momentum is not None:
        velocity.copy_((velocity * momentum + gradient).where(gradient.isfinite(), velocity))


def _moved(
    weight: Tensor, gradient: Tensor, r: Tensor, path: Path, keep: float | Tensor, trail: Tensor | None
) -> Moved:
    """Walk by `r` rungs, once decay has left `keep` of the weight."""
    kept = weight * keep
    goes = gradient.isfinite() & r.isfinite() & kept.isfinite()
    there = position(kept, path.line, path.scale) - r.double()
    walked = value(there, path.line, path.scale).to(weight.dtype)
    new = walked.where(r != 0, kept).where(goes, weight)
    flips = None
    if trail is not None:
        went = rung(new, path.format, path.scale) - rung(weight, path.format, path.scale)
        trail += went
        flips = (went != 0).sum()
    weight.copy_(new)
    whole = gradient.isfinite()
    return Moved((~whole).sum(), (whole & (gradient != 0)).sum(), flips)


def _scaled(w: Tensor, scale: Tensor) -> Tensor:
    return w.detach().float() / scale


def _cell(scaled: Tensor, values: Tensor) -> Tensor:
    """The index of the grid value at or below, kept within the cells."""
    import torch

    return (torch.searchsorted(values, scaled.contiguous(), right=True) - 1).clamp(0, len(values) - 2)


@remembered
def _gaps(grid: Grid, device: object) -> Tensor:
    """Distances between neighbouring values, float64 of shape (rungs - 1,)."""
    return grid_tensor(grid, device).diff()

"""Moves of weights as operations of torch, in place: `altgrad::walk`, `adam_walk`, `stochastic_walk`, `update_velocity`.

As in `library`, a format is the text of a quantizer. Counts are int64 of shape (4,): those of `Moved`, flips 0 without a trail.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor

from altgrad_core.numerics.backends import choose_move
from altgrad_core.numerics.geometry import Fixed, Geometry
from altgrad_core.numerics.library import name_of, quantizer
from altgrad_core.numerics.moves import Moved, Path, Step, left
from altgrad_core.numerics.random import Key

MOVING = "Tensor(a!) weight, Tensor(b!) direction, Tensor gradient, Tensor(c!)? trail"
ADAM = (
    "Tensor(a!) weight, Tensor gradient, Tensor(b!) step, Tensor(c!) exp_avg, Tensor(d!) exp_avg_sq, Tensor(e!)? trail"
)
GRID = "str format, Tensor scale, int? floor"
STEP = "Tensor rungs, float bound, Tensor decay, float? momentum"
BETAS = "Tensor rungs, float beta1, float beta2, float eps, Tensor decay"


def moved(weight: Tensor, direction: Tensor, geometry: Geometry, *, key: Key | None = None, **options: Any) -> Moved:
    """As `walk.walk`, or with a key as `walk.stochastic_walk`, as one operation of torch; the counts are tensors."""
    trail, rungs, decay = options.get("trail"), _number(options.get("rungs", 1.0)), _number(options.get("decay", 0.0))
    step = rungs, options.get("bound", math.inf), decay, options.get("momentum")
    arguments = weight.detach(), direction, options["gradient"], trail, *_grid(geometry), *step
    operations = torch.ops.altgrad
    if key is None:
        return _moved(operations.walk(*arguments), trail)
    keys = (0, key) if isinstance(key, Tensor) else (key, None)
    return _moved(operations.stochastic_walk(*arguments, *keys), trail)


def adam_moved(
    weight: Tensor, gradient: Tensor, state: MutableMapping[str, Any], geometry: Geometry, **options: Any
) -> Moved:
    """As `walk.adam_walk`, as one operation of torch; the counts are tensors."""
    trail, moments = state.get("bit_position"), (state["step"], state["exp_avg"], state["exp_avg_sq"])
    step = _number(options["rungs"]), *options["betas"], options["eps"], _number(options.get("decay", 0.0))
    counts = torch.ops.altgrad.adam_walk(weight.detach(), gradient, *moments, trail, *_grid(geometry), *step)
    return _moved(counts, trail)


def _number(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def _grid(geometry: Geometry) -> tuple[str, Tensor, int | None]:
    return name_of(geometry.format), geometry.scale, geometry.floor


def _moved(counts: Tensor, trail: Tensor | None) -> Moved:
    broken, updates, flips, ended = counts.unbind()
    return Moved(broken, updates, None if trail is None else flips, ended)


def _path(format: str, scale: Tensor, floor: int | None) -> Path:
    return Geometry(Fixed(quantizer(format).target, scale), floor=floor).path


def _counts(moved: Moved, device: torch.device) -> Tensor:
    counts = [torch.as_tensor(0 if count is None else count, dtype=torch.int64, device=device) for count in moved]
    return torch.stack(counts)


def _step(rungs: Tensor, bound: float, decay: Tensor, momentum: float | None) -> Step:
    return Step(_here(rungs), bound, left(_here(decay)), momentum)


def _here(number: Tensor) -> float | Tensor:
    """A number on another device is not waited for."""
    return float(number) if number.device.type == "cpu" else number


@torch.library.custom_op(
    "altgrad::walk", mutates_args=("weight", "direction", "trail"), schema=f"({MOVING}, {GRID}, {STEP}) -> Tensor"
)
def _walk(weight: Tensor, direction: Tensor, gradient: Tensor, trail: Tensor | None, *rest: Any) -> Tensor:
    path, step = _path(*rest[:3]), _step(*rest[3:])
    done = choose_move("walk", weight, path).walk(weight, gradient, direction, path, step, trail=trail)
    return _counts(done, weight.device)


@torch.library.custom_op(
    "altgrad::stochastic_walk",
    mutates_args=("weight", "direction", "trail"),
    schema=f"({MOVING}, {GRID}, {STEP}, SymInt key, Tensor? key_on_device=None) -> Tensor",
)
def _stochastic_walk(weight: Tensor, direction: Tensor, gradient: Tensor, trail: Tensor | None, *rest: Any) -> Tensor:
    path, step, (key, *on_device) = _path(*rest[:3]), rest[3:7], rest[7:]
    backend = choose_move("stochastic_walk", weight, path)
    key = next((given for given in on_device if given is not None), key)
    done = backend.stochastic_walk(weight, gradient, direction, path, _step(*step), trail=trail, key=key)
    return _counts(done, weight.device)


@torch.library.custom_op(
    "altgrad::adam_walk",
    mutates_args=("weight", "step", "exp_avg", "exp_avg_sq", "trail"),
    schema=f"({ADAM}, {GRID}, {BETAS}) -> Tensor",
)
def _adam_walk(weight: Tensor, gradient: Tensor, step: Tensor, m: Tensor, v: Tensor, *rest: Any) -> Tensor:
    trail, *grid = rest[:4]
    rungs, beta1, beta2, eps, decay = rest[4:]
    state = {"step": step, "exp_avg": m, "exp_avg_sq": v, **({} if trail is None else {"bit_position": trail})}
    path, of_one = _path(*grid), Step(_here(rungs), keep=left(_here(decay)))
    backend = choose_move("adam_walk", weight, path)
    done = backend.adam_walk(weight, gradient, state, path, of_one, betas=(beta1, beta2), eps=eps)
    return _counts(done, weight.device)


@torch.library.custom_op(
    "altgrad::update_velocity",
    mutates_args=("velocity",),
    schema="(Tensor(a!) velocity, Tensor gradient, float momentum) -> Tensor",
)
def _update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> Tensor:
    norm = choose_move("update_velocity", velocity).update_velocity(velocity, gradient, momentum)
    return torch.as_tensor(norm, dtype=torch.float64, device=velocity.device)


@_walk.register_fake
@_stochastic_walk.register_fake
@_adam_walk.register_fake
def _(weight: Tensor, *_: Any) -> Tensor:
    return weight.new_empty((4,), dtype=torch.int64)


@_update_velocity.register_fake
def _(velocity: Tensor, gradient: Tensor, momentum: float) -> Tensor:
    return velocity.new_empty((), dtype=torch.float64)

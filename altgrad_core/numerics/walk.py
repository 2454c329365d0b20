"""Moving a weight along its grid, in place: by Adam's direction, by any direction, or by whole rungs.

On a CPU each is one compiled pass; tensors of other devices or types, and formats other than eXmY, take the same steps
by tensor operations in float64. Rates, decay and keys may be tensors of shape () on the device of the weight, which are not
waited for. Of a sharded weight every process moves its own part, and the counts are those of all parts; a stochastic walk
gathers the weight, for the random number of an element depends on its place in the whole.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from altgrad_core.errors import FormatError
from altgrad_core.numerics.backends import choose_move
from altgrad_core.numerics.checks import check_alike, check_broadcasts, check_kind
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.numerics.moves import Moved, Step, left
from altgrad_core.numerics.random import Key
from altgrad_core.numerics.sharded import gathered, is_sharded, own, sharded_as, total

if TYPE_CHECKING:
    from torch import Tensor

A_GEOMETRY = 'a Geometry, as Geometry.of(load_format("e4m3"))'


def adam_walk(
    weight: Tensor,
    gradient: Tensor,
    state: MutableMapping[str, Any],
    geometry: Geometry,
    *,
    rungs: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    decay: float | Tensor = 0.0,
) -> Moved:
    """w <- u^-1(u((1 - decay) w) - rungs d), where d is Adam's direction m / (sqrt(v) + eps) and u the rung position.

    Args:
        state: as `begin_moments` makes it, updated; its `bit_position`, int32 of the shape of the weight, if there is
            one, takes in by how many rungs each element went.
        rungs: how many rungs a direction of 1 leads.

    Raises:
        FormatError: tensors that do not go with the weight, or a state without moments.
    """
    check_kind("adam_walk", "geometry", geometry, Geometry, A_GEOMETRY)
    _check("adam_walk", weight, geometry, gradient=gradient, trail=state.get("bit_position"), **_moments(state))
    if is_sharded(weight):
        parts = {name: own(value) for name, value in state.items()}
        view = geometry.part(weight)
        options: dict[str, Any] = {"rungs": rungs, "betas": betas, "eps": eps, "decay": decay}
        return _summed(adam_walk(own(weight), own(gradient), parts, view, **options), weight)
    gradient = gradient.to(state["exp_avg"].dtype)
    if library := _library_if_traced():
        options = {"rungs": rungs, "betas": betas, "eps": eps, "decay": decay}
        traced: Moved = library.adam_moved(weight, gradient, state, geometry, **options)
        return traced
    path, step = geometry.path, Step(rungs, keep=left(decay))
    backend = choose_move("adam_walk", weight, path)
    moved: Moved = backend.adam_walk(weight, gradient, state, path, step, betas=betas, eps=eps)
    return moved


def walk(
    weight: Tensor,
    direction: Tensor,
    geometry: Geometry,
    *,
    gradient: Tensor,
    rungs: float | Tensor = 1.0,
    bound: float = math.inf,
    decay: float | Tensor = 0.0,
    momentum: float | None = None,
    trail: Tensor | None = None,
) -> Moved:
    """w <- u^-1(u((1 - decay) w) - r), where r is `rungs` times the direction, and at most `bound`.

    Args:
        direction: float32, of the shape of the weight.
        gradient: likewise; where it is not finite the weight stays as it is.
        decay: 1 or more leaves nothing of the weight.
        momentum: the direction is a velocity, which first becomes `momentum` times itself plus the gradient, in place.
        trail: int32, of the shape of the weight; takes in by how many rungs each element went.

    Raises:
        FormatError: tensors that do not go with the weight.
    """
    check_kind("walk", "geometry", geometry, Geometry, A_GEOMETRY)
    _check("walk", weight, geometry, gradient=gradient, direction=direction, trail=trail)
    options: dict[str, Any] = {"rungs": rungs, "bound": bound, "decay": decay, "momentum": momentum}
    if is_sharded(weight):
        parts, view = {"gradient": own(gradient), "trail": own(trail)}, geometry.part(weight)
        return _summed(walk(own(weight), own(direction), view, **parts, **options), weight)
    if library := _library_if_traced():
        traced: Moved = library.moved(weight, direction, geometry, gradient=gradient, trail=trail, **options)
        return traced
    path, step = geometry.path, Step(rungs, bound, left(decay), momentum)
    moved: Moved = choose_move("walk", weight, path).walk(weight, gradient, direction, path, step, trail=trail)
    return moved


def stochastic_walk(
    weight: Tensor,
    direction: Tensor,
    geometry: Geometry,
    *,
    gradient: Tensor,
    key: Key,
    rungs: float | Tensor = 1.0,
    bound: float = math.inf,
    decay: float | Tensor = 0.0,
    momentum: float | None = None,
    trail: Tensor | None = None,
) -> Moved:
    """As `walk`, but to a rung: r is rounded to a whole number by chance, to either neighbour, unbiased.

    Args:
        key: names the stream of random numbers; the number of an element names its own. It may be on a device.

    Raises:
        FormatError: tensors that do not go with the weight.
    """
    check_kind("stochastic_walk", "geometry", geometry, Geometry, A_GEOMETRY)
    _check("stochastic_walk", weight, geometry, gradient=gradient, direction=direction, trail=trail)
    options: dict[str, Any] = {"rungs": rungs, "bound": bound, "decay": decay, "momentum": momentum}
    if is_sharded(weight):
        return _gathered_walk((weight, direction, trail), geometry, gradient=gathered(gradient), key=key, **options)
    if library := _library_if_traced():
        traced: Moved = library.moved(weight, direction, geometry, key=key, gradient=gradient, trail=trail, **options)
        return traced
    path, step = geometry.path._replace(line=geometry.format), Step(rungs, bound, left(decay), momentum)
    backend = choose_move("stochastic_walk", weight, path)
    moved: Moved = backend.stochastic_walk(weight, gradient, direction, path, step, trail=trail, key=key)
    return moved


def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> float | Tensor:
    """velocity <- momentum * velocity + gradient, in place; where the gradient is not finite it stays as it is.

    Returns:
        The norm of the velocity: a number from the compiled path, elsewhere a tensor of shape ().

    Raises:
        FormatError: a gradient that does not go with the velocity.
    """
    import torch

    if is_sharded(velocity):
        part = torch.as_tensor(update_velocity(own(velocity), own(gradient), momentum), dtype=torch.float64)
        return total(part.square(), velocity).sqrt()
    check_alike("update_velocity", "velocity", velocity, gradient=gradient)
    if _library_if_traced():
        traced: Tensor = torch.ops.altgrad.update_velocity(velocity, gradient, momentum)
        return traced
    norm: float | Tensor = choose_move("update_velocity", velocity).update_velocity(velocity, gradient, momentum)
    return norm


def _check(operation: str, weight: Tensor, geometry: Geometry, **others: Tensor | None) -> None:
    """Refuse what does not go with a weight, which kernels do not ask; of a sharded weight the parts are looked at later."""
    if not is_sharded(weight):
        check_alike(operation, "weight", weight, **others)
        check_broadcasts(operation, geometry.scale, weight)


def _moments(state: MutableMapping[str, Any]) -> dict[str, Any]:
    try:
        return {name: state[name] for name in ("exp_avg", "exp_avg_sq")}
    except KeyError as missing:
        raise FormatError(f"adam_walk: state has no {missing}; fill it by begin_moments(state, weight)") from None


def _library_if_traced() -> ModuleType | None:
    """The moves as operations of torch, where operations are written down."""
    from altgrad_core.numerics.tracing import is_traced

    if not is_traced():
        return None
    from altgrad_core.numerics import library_walk

    return library_walk


def _gathered_walk(moving: tuple[Tensor, Tensor, Tensor | None], geometry: Geometry, **options: Any) -> Moved:
    """A stochastic walk of a sharded weight, its direction and its trail: every process walks all, and keeps its own part."""
    whole = [None if x is None else gathered(x) for x in moving]
    weight, direction, trail = whole
    assert weight is not None and direction is not None
    moved = stochastic_walk(weight, direction, geometry, trail=trail, **options)
    for x, values in zip(moving, whole, strict=True):
        if x is not None and values is not None:
            x.copy_(sharded_as(values, x))
    return moved


def _summed(part: Moved, weight: Tensor) -> Moved:
    """The counts of all parts of a weight, in one collective."""
    import torch

    options = {name: count for name, count in part._asdict().items() if count is not None}
    device = own(weight).device
    counts = torch.stack([torch.as_tensor(n, dtype=torch.int64, device=device) for n in options.values()])
    result = total(counts, weight)
    return part._replace(**dict(zip(options, result.tolist() if device.type == "cpu" else result, strict=True)))

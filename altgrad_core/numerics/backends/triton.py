"""Triton kernels for CUDA: each operation is one or two launches, and its bits are those of the reference.

Triton is an extra, and comes with every torch that is built for CUDA; it is imported when a tensor there asks for it. The
kernels have been run in Triton's interpreter and compiled for sm_80 and sm_90; they have not been run on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import MutableMapping
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from altgrad_core.numerics.backends import reference
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels.facts import arithmetic_facts
from altgrad_core.numerics.moves import Moved, Path, Step, fits
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import Key
from altgrad_core.numerics.tally import Quantized
from altgrad_core.numerics.tiling import Tiling
from altgrad_core.numerics.triton import facts

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
TYPES = {
    "quantize": FLOATS,
    "encode": FLOATS,
    "amax": FLOATS,
    "scale": (torch.float32,),
    "decode": (torch.uint8, torch.uint16),
    **dict.fromkeys(("walk", "adam_walk", "stochastic_walk", "update_velocity"), (torch.float32,)),
    **dict.fromkeys(("rung", "position", "spacing", "movement"), FLOATS),
    "value": (torch.float64,),
    "key": (torch.int64,),
}
Place = Literal["rung", "position", "value", "spacing"]
PLACES: tuple[Place, ...] = get_args(Place)
MOVES = ("walk", "adam_walk", "stochastic_walk", "update_velocity")
DEVICE = "cuda"  # the type of device that the kernels are for
OLDEST = (3, 4)
LEAST_CAPABILITY = (8, 0)


def supports(case: Case) -> bool:
    """Whether this backend has a case: on CUDA, the types above, any table and tiling, modes that it knows by their facts.

    Weights are moved, and placed, on grids that are computed; they are moved in place.
    """
    if case.device != DEVICE or case.dtype not in TYPES.get(case.operation, ()):
        return False
    if case.operation in (*MOVES, *PLACES, "movement") and not all(map(arithmetic_facts, case.grids)):
        return False
    if case.operation in MOVES and not case.is_contiguous:
        return False
    is_known = facts.knows(case.rounding) and type(case.tiling) is Tiling  # a subclass has shapes of its own
    return is_known and is_usable()


@lru_cache(maxsize=1)
def is_usable() -> bool:
    """Whether there is a Triton for the devices here; says why not, once."""
    if (problem := _problem()) is not None:
        warnings.warn(f"{problem}; on CUDA, tensor operations quantize instead, more slowly", stacklevel=2)
    return problem is None


def _problem() -> str | None:
    try:
        version = metadata.version("triton")
    except metadata.PackageNotFoundError:
        return "Triton is not installed (pip install altgrad[triton])"
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        return f"Triton {version} is too old: expected {OLDEST[0]}.{OLDEST[1]} or newer"
    if torch.version.hip is not None:
        return "AltGrad's kernels are proven for CUDA, and this torch is built for ROCm"
    for index in range(torch.cuda.device_count()):
        if (capability := torch.cuda.get_device_capability(index)) < LEAST_CAPABILITY:
            name = torch.cuda.get_device_name(index)
            return f"{name} has compute capability {capability[0]}.{capability[1]}: expected 8.0 or more"
    return None


def amax(x: Tensor, tiling: Tiling) -> Tensor:
    """See `ops.amax`."""
    if x.numel() == 0:
        return reference.amax(x, tiling)
    from altgrad_core.numerics.triton import run

    if tiling.shape(tuple(x.shape)) == ():
        return run.whole_amax(x).tally(x.numel()).amax
    return run.tile_amax(x, tiling)


def scale(amax: Tensor, how: Quantizer) -> Tensor:
    """See `ops.scale_of`."""
    if amax.numel() == 0 or how.scale_rule.kind == "none" or how.scale_rule.scale_format == "e4m3":
        return reference.scale(amax, how)
    from altgrad_core.numerics.triton import run

    return run.scales_of(amax, facts.rule_of(how))


def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: Key | None = None, out: Tensor | None = None
) -> Quantized:
    """As `reference.quantize`. Nothing waits for the device: no scale, count or key passes through the host."""
    if x.numel() == 0 or (scale is not None and how.nonfinite == "block"):
        return reference.quantize(x, how, scale=scale, key=key, out=out)
    from altgrad_core.numerics.triton import run

    return run.quantize(x, how, scale=scale, key=key, out=out)


def key(stream: tuple[str | int, ...], replica: int, step: Tensor, call: Tensor) -> Tensor:
    """As `reference.key`; nothing waits for the device."""
    from altgrad_core.numerics.triton import run_keys

    return run_keys.key(stream, replica, step, call)


def encode(x: Tensor, how: Quantizer, *, scale: Tensor, key: int | None, out: Tensor) -> int:
    """See `reference.encode`; only for a format that has no NaN is the device waited for."""
    if x.numel() == 0:
        return 0
    from altgrad_core.numerics.triton import run_codes

    counts = run_codes.encode(x, how, scale=scale, key=key, out=out)
    return 0 if how.target.nan_code is not None else int(counts.cells[3])


def decode(codes: Tensor, format: Format, *, scale: float, out: Tensor) -> None:
    """See `reference.decode`."""
    if codes.numel():
        from altgrad_core.numerics.triton import run_codes

        run_codes.decode(codes, format, scale=scale, out=out)


def rung(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.rung`."""
    return _place("rung", x, format, scale)


def position(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.position`."""
    return _place("position", x, format, scale)


def value(u: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.value`."""
    return _place("value", u, format, scale)


def spacing(x: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.spacing`."""
    return _place("spacing", x, format, scale)


def movement(before: Tensor, after: Tensor, gradient: Tensor, format: Format, scale: Tensor) -> Tensor:
    """See `ops.movement`."""
    if after.numel() == 0 or gradient.dtype not in FLOATS:
        return reference.movement(before, after, gradient, format, scale)
    from altgrad_core.numerics.triton import run_places

    return run_places.movement(before, after, gradient, format, scale)


def _place(what: Place, x: Tensor, format: Format, scale: Tensor) -> Tensor:
    if x.numel() == 0:
        empty: Tensor = getattr(reference, what)(x, format, scale)
        return empty
    from altgrad_core.numerics.triton.run_places import places

    return places(what, x, format, scale)


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
    from altgrad_core.numerics.triton import run_walk

    if not fits(gradient, weight, state["exp_avg"], state["exp_avg_sq"], state.get("bit_position")):
        return reference.adam_walk(weight, gradient, state, path, step, betas=betas, eps=eps)
    return run_walk.adam_walk(weight, gradient, state, path, step, adam=run_walk.Adam.of(betas, eps))


def walk(weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None) -> Moved:
    """See `walk.walk`."""
    from altgrad_core.numerics.triton import run_walk

    if not fits(gradient, weight, direction, trail):
        return reference.walk(weight, gradient, direction, path, step, trail=trail)
    return run_walk.walk(weight, gradient, (direction,), path, step, trail=trail)


def stochastic_walk(
    weight: Tensor, gradient: Tensor, direction: Tensor, path: Path, step: Step, *, trail: Tensor | None, key: Key
) -> Moved:
    """See `walk.stochastic_walk`."""
    from altgrad_core.numerics.triton import run_walk

    if not fits(gradient, weight, direction, trail):
        return reference.stochastic_walk(weight, gradient, direction, path, step, trail=trail, key=key)
    return run_walk.stochastic_walk(weight, gradient, direction, path, step, trail=trail, key=key)


def update_velocity(velocity: Tensor, gradient: Tensor, momentum: float) -> Tensor:
    """See `walk.update_velocity`."""
    from altgrad_core.numerics.triton import run_walk

    if not fits(gradient, velocity):
        return reference.update_velocity(velocity, gradient, momentum)
    return run_walk.update_velocity(velocity, gradient, momentum)

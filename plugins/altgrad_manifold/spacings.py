"""Controls of the spacing in a step: which spacing each weight is stepped by, in place of its own."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from altgrad_core import Geometry, derive_key, gathered, sharded_as


def spacing_by(control: str, geometry: Geometry, weight: Tensor, state: dict[str, Any]) -> Tensor:
    """S of every weight, float32, of its shape, or of shape () where all weights share one.

    Args:
        control: `own`: the spacing at the weight. `shuffled`: that of another weight of the same tensor, always the
            same one. `rms`: the root mean square over the tensor. `initial`, `initial-rms`: the spacing at the weight,
            and that root mean square, when this was first asked; kept in `state["spacing"]`.
    """
    if control in ("initial", "initial-rms"):
        if "spacing" not in state:
            state["spacing"] = spacing_by("rms" if control == "initial-rms" else "own", geometry, weight, state)
        spacing: Tensor = state["spacing"]
        return spacing
    own = geometry.spacing(weight)
    if control == "shuffled":
        return shuffled(own)
    return own.double().square().mean().sqrt().float() if control == "rms" else own


def shuffled(values: Tensor) -> Tensor:
    """The elements in another order, which depends on their number alone."""
    whole = gathered(values)
    return sharded_as(whole.flatten()[_order(whole.numel(), whole.device)].view_as(whole), values)


@lru_cache(maxsize=64)
def _order(count: int, device: torch.device) -> Tensor:
    """A permutation: element numbers by rank of their keys, which depend on these numbers alone."""
    numbers = sorted(range(count), key=lambda number: derive_key(0, "shuffled spacing", number))
    return torch.tensor(numbers, device=device)

"""What broke first in a step of a script, as far as the tensors at hand tell: nothing is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def broken_layer(weights: Mapping[str, nn.Parameter], step: int) -> dict[str, Any]:
    """The first weight that is not finite before this step, or of the gradients the one nearest to the loss."""
    for path, weight in weights.items():
        if not weight.isfinite().all():
            return broken(step - 1, "optimizer", path, f"the weight of {path} is not finite")
    result = [path for path, w in weights.items() if w.grad is not None and not w.grad.isfinite().all()]
    if not result:
        return broken(step, "backward", "*", "the norm of the gradients is not finite")
    return broken(step, "backward", result[-1], f"the gradient of the weight of {result[-1]} is not finite")


def broken(step: int, phase: str, layer: str, what: str) -> dict[str, Any]:
    """A record of what broke, without its kind."""
    return {"step": step, "phase": phase, "layer": layer, "role": None, "what": what}

"""What the optimizers of this package share: gradients that are not finite, and a decayed direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altgrad_core import SplitOptimizer, adam_direction, begin_moments, gathered


class OwnStep(SplitOptimizer):
    """A step of its own for groups that are not `plain`.

    There a weight whose gradient is not finite stays as it is, and so does its state; `state[p]["broken"]` counts
    them. Torch's own step follows torch.
    """

    def decayed_direction(self, group: dict[str, Any], parameter: Tensor) -> Tensor:
        """AdamDirection(g) + weight_decay * w after taking in one gradient; 0 where that is not finite."""
        state = self.state[parameter]
        assert parameter.grad is not None
        begin_moments(state, parameter)
        direction = adam_direction(parameter.grad, state, betas=group["betas"], eps=group["eps"])
        return direction.add_(parameter, alpha=group["weight_decay"]).where(finite(parameter.grad, state), 0.0)


def finite(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """Where a gradient is a finite number; the others are counted in `state["broken"]`."""
    whole = gradient.isfinite()
    if "broken" not in state:
        state["broken"] = torch.zeros((), dtype=torch.int64, device=gradient.device)
    state["broken"] += gathered((~whole).sum())
    return whole

"""Madam: weights are multiplied by factors near 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altgrad_baselines.own_step import OwnStep, finite
from altgrad_core import SplitOptimizer, gathered


class Madam(OwnStep):
    """w <- clamp(w * exp(-lr * clamp(g / sqrt(v), +-g_bound) * sign(w)), +-p_scale * rms(w at first)), 2006.14560.

    Where there is no step, because w, g or the rate is 0, w is not clamped either. A weight whose gradient is
    no finite number stays.

    Args:
        params: parameters or groups; those of a group with `plain=True` take AdamW.
    """

    def __init__(
        self, params: Any, *, lr: float = 0.01, beta: float = 0.999, g_bound: float = 10.0, p_scale: float = 3.0
    ) -> None:
        self.beta, self.g_bound, self.p_scale = beta, g_bound, p_scale
        super().__init__(params, {"lr": lr})

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One factor for each weight."""
        for parameter in parameters:
            state = self.state[parameter]
            if "limit" not in state:
                rms = gathered(parameter.double().square().mean()).sqrt()
                state["limit"] = (self.p_scale * rms).to(parameter.dtype)
            gradient = normalized_gradient(parameter, state, beta=self.beta, bound=self.g_bound)
            exponent = -group["lr"] * gradient * parameter.sign()
            stepped = (parameter * exponent.exp()).clamp(-state["limit"], state["limit"])
            parameter.copy_(torch.where(exponent == 0, parameter, stepped))


def normalized_gradient(parameter: Tensor, state: dict[str, Any], *, beta: float, bound: float) -> Tensor:
    """clamp(g / sqrt(v), -bound, bound), v = beta * v + (1 - beta) * g * g with bias correction.

    It is 0 where v is 0, and where the gradient is not finite, which v does not take in.

    Args:
        state: of the parameter; `step` and `exp_avg_sq` are begun and updated there.
    """
    gradient = parameter.grad
    assert gradient is not None
    correction = SplitOptimizer.count_step(state, parameter, beta)
    if "exp_avg_sq" not in state:
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    whole, mean = finite(gradient, state), state["exp_avg_sq"]
    mean.copy_((mean * beta).addcmul_(gradient, gradient, value=1 - beta).where(whole, mean))
    size = (mean / correction).sqrt_()
    return torch.where(whole & (size != 0), gradient / size, 0.0).clamp_(-bound, bound)

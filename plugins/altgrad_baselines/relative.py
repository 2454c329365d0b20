"""AdamW with rates relative to the root mean square of each matrix."""

from __future__ import annotations

from typing import Any, Literal, cast

from torch import Tensor

from altgrad_baselines.own_step import finite
from altgrad_core import SplitOptimizer, adam_direction, begin_moments


class RelativeAdamW(SplitOptimizer):
    """w -= lr * (max(rms(w), min_rms) * AdamDirection(g) + weight_decay * w), rms over the whole tensor.

    With `reference = "initial"`, rms is that before the first step. A weight whose gradient is not finite stays.

    Args:
        params: parameters or groups; those of a group with `plain=True` take AdamW.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        min_rms: float = 1e-3,
        reference: Literal["current", "initial"] = "current",
    ) -> None:
        self.min_rms, self.reference = min_rms, reference
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of each, at a rate of its own."""
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            assert gradient is not None
            begin_moments(state, parameter)
            rms = self._rms(parameter, state)
            direction = adam_direction(gradient, state, betas=group["betas"], eps=group["eps"])
            step = (rms * direction).add_(parameter, alpha=group["weight_decay"])
            parameter.sub_(group["lr"] * step.where(finite(gradient, state), 0.0))

    def _rms(self, parameter: Tensor, state: dict[str, Any]) -> Tensor:
        """What the step is relative to."""
        if self.reference == "initial" and "reference" in state:
            return cast("Tensor", state["reference"])
        rms = parameter.double().square().mean().sqrt().clamp(min=self.min_rms).to(parameter.dtype)
        if self.reference == "initial":
            state["reference"] = rms
        return rms

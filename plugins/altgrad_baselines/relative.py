"""AdamW with rates relative to the root mean square of each matrix."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from altgrad_baselines.own_step import OwnStep


class RelativeAdamW(OwnStep):
    """w -= lr * max(rms(w), min_rms) * (AdamDirection(g) + weight_decay * w), rms over the whole tensor.

    A weight whose gradient is no finite number stays.

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
    ) -> None:
        self.min_rms = min_rms
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of each, at a rate of its own."""
        for parameter in parameters:
            rms = parameter.double().square().mean().sqrt().clamp(min=self.min_rms)
            direction = self.decayed_direction(group, parameter)
            parameter.sub_(group["lr"] * rms.to(parameter.dtype) * direction)

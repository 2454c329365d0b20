"""LAMB: Adam's direction, in proportion to the norm of each layer's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

from altgrad_baselines.own_step import OwnStep


class LAMB(OwnStep):
    """r = AdamDirection(g) + weight_decay * w, w -= lr * clamp(|w| / |r|, *ratios) * r (You et al., 1904.00962).

    The ratio is 1 where |w| is 0, and for vectors: gains and biases are not adapted. A weight whose
    gradient is not finite stays, and is no part of |r|.

    Args:
        params: parameters or groups.
        ratios: the bounds of the ratio.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        ratios: tuple[float, float] = (0.0, 10.0),
    ) -> None:
        self.ratios = ratios
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of each, relative to its norm."""
        for parameter in parameters:
            direction = self.decayed_direction(group, parameter)
            parameter.sub_(group["lr"] * self._ratio(parameter, direction) * direction)

    def _ratio(self, parameter: Tensor, direction: Tensor) -> Tensor | float:
        if parameter.dim() < 2:
            return 1.0
        weight, step = (vector_norm(x, dtype=torch.float64) for x in (parameter, direction))
        return torch.where(weight == 0, 1.0, weight / step).clamp(*self.ratios)

"""AdamW whose weights are rounded to their grid, with a buffer that keeps what the rounding lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from altgrad_baselines.on_grid import nearest, put, settle
from altgrad_baselines.own_step import OwnStep
from altgrad_core import Geometry, begin_moments


class KahanAdamW(OwnStep):
    """Kahan summation of AdamW's steps u = -lr * (AdamDirection(g) + weight_decay * w) (Zamirai et al., 2010.06192).

    y = u + c, s = Q(w + y), c = y - (s - w), w = s, with Q to the nearest rung, arithmetic in float32 and c kept as
    `compensation`. Already the first c is what bringing w to the grid rounds away, so w + c follows AdamW with a
    float32 master. Beyond the ends of the grid w saturates, and c keeps the rest. The paper has c with the opposite
    sign, 0 at first, and all arithmetic in one low precision.

    Where the gradient is not finite, w and c stay.

    Args:
        params: parameters or groups; a group with `plain=True` holds parameters without a grid, which take AdamW.
        geometry: the grid of every other parameter; its scale is fixed here, with a binade of headroom.
        compensation: `bfloat16` or `float32`.
    """

    def __init__(
        self,
        params: Any,
        *,
        geometry: Mapping[Tensor, Geometry],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        compensation: str = "bfloat16",
    ) -> None:
        self.geometry = dict(geometry)
        self.compensation: torch.dtype = getattr(torch, compensation)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def begin(self, parameter: Tensor) -> None:
        """Bring it to its grid, and keep what that rounds away."""
        state = self.state[parameter]
        begin_moments(state, parameter)
        state["compensation"] = settle(parameter, self.geometry[parameter]).to(self.compensation)

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One compensated step of each."""
        for parameter in parameters:
            self._add(parameter, -group["lr"] * self.decayed_direction(group, parameter))

    def _add(self, parameter: Tensor, update: Tensor) -> None:
        grid, state = self.geometry[parameter], self.state[parameter]
        lost = state["compensation"].float()
        held = nearest(grid, parameter)  # the weight itself, unless its format was switched
        exact = update + lost + (parameter - held)
        # Rounded to bfloat16, c may reach the middle between two rungs: that alone is no reason to move.
        rounded = torch.where(update == 0, held, nearest(grid, held + exact))
        state["compensation"].copy_(exact - (rounded - held))
        put(parameter, rounded, where=~parameter.isnan())

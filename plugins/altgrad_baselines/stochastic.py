"""AdamW whose weights are rounded stochastically to their grid after every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from altgrad_baselines.on_grid import nearest, put, settle, stochastic
from altgrad_baselines.own_step import OwnStep
from altgrad_core import Geometry


class StochasticAdamW(OwnStep):
    """w <- SR(AdamW(w, g)): there is no master, and a weight moves to the next rung by chance (Gupta et al., 1502.02551).

    The mean of the rounded weights is the result of float32 AdamW. A weight whose gradient is not finite stays.

    Args:
        params: parameters or groups; a group with `plain=True` holds parameters without a grid, which take AdamW.
        geometry: the grid of every other parameter; its scale is fixed here, with a binade of headroom.
        weight_decay: as torch does it; rounded with the step.
        rounding: `nearest-even` loses every step below half a rung; a control.
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
        rounding: Literal["stochastic", "nearest-even"] = "stochastic",
    ) -> None:
        self.geometry, self.rounding = dict(geometry), rounding
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def begin(self, parameter: Tensor) -> None:
        """Bring it to its grid."""
        settle(parameter, self.geometry[parameter])

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """AdamW in float32, then rounded."""
        for parameter in parameters:
            stepped = parameter - group["lr"] * self.decayed_direction(group, parameter)
            grid = self.geometry[parameter]
            is_random = self.rounding == "stochastic"
            rounded = stochastic(grid, stepped, held=parameter) if is_random else nearest(grid, stepped)
            put(parameter, rounded, where=~parameter.isnan())

"""LNS-Madam: Madam's step of base-2 exponents on a logarithmic grid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from altgrad_baselines.madam import normalized_gradient
from altgrad_baselines.on_grid import put
from altgrad_baselines.own_step import OwnStep
from altgrad_core import gathered


class LNSMadam(OwnStep):
    """log2|w| <- Q(log2|w| - lr * clamp(g / sqrt(v), +-g_bound) * sign(w)), 2106.13914.

    A weight is sign * top * 2 ** (-k / base_factor) with k in 0 ... 2 ** (bits - 1) - 1, or 0. `top`, twice the largest
    magnitude of the tensor, is fixed when the optimizer is made, and the weights are brought to this grid. The paper
    counts k upwards from the lowest value, and takes the scale again.

    A weight whose gradient is not finite stays.

    Args:
        params: parameters or groups; those of a group with `plain=True` take AdamW.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 2.0**-7,
        beta: float = 0.999,
        g_bound: float = 10.0,
        base_factor: int = 2048,
        bits: int = 16,
    ) -> None:
        self.beta, self.g_bound = beta, g_bound
        self.base_factor, self.last = base_factor, 2 ** (bits - 1) - 1
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def begin(self, parameter: Tensor) -> None:
        """Fix the top of its exponents, and bring it to the nearest code."""
        sizes = torch.where(parameter.isfinite(), parameter, 0.0).abs()
        largest = gathered(sizes.max()) if parameter.numel() else sizes.new_zeros(())
        top = 2 * torch.where(largest == 0, 1.0, largest)
        self.state[parameter]["top"] = top
        put(parameter, self._value(self._code(parameter, top), parameter.sign(), top), where=~parameter.isnan())

    def move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One whole number of exponent steps for each weight."""
        for parameter in parameters:
            state = self.state[parameter]
            gradient = normalized_gradient(parameter, state, beta=self.beta, bound=self.g_bound)
            down = group["lr"] * gradient.double() * parameter.sign()
            code = self._code(parameter, state["top"]) + self.base_factor * down
            put(parameter, self._value(code, parameter.sign(), state["top"]), where=down != 0)

    def _code(self, w: Tensor, top: Tensor) -> Tensor:
        """The whole number of steps from the top to |w|, float64; infinite for 0."""
        return (self.base_factor * (top.double() / w.abs().double()).log2()).round()

    def _value(self, code: Tensor, sign: Tensor, top: Tensor) -> Tensor:
        """sign * top * 2 ** (-code / base_factor), of the nearest code, float64; 0 where the sign is 0."""
        return sign * top.double() * torch.exp2(-code.round().clamp(0, self.last) / self.base_factor)

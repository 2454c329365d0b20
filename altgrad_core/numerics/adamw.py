"""Adam's direction and torch's AdamW step, as functions of plain tensors, for optimizers built around them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

State = MutableMapping[str, Any]


def begin_moments(state: State, parameter: Tensor, *, fused: bool | None = None) -> None:
    """Fill an empty optimizer state with `step` and the two moments of one parameter, all zero.

    Args:
        fused: whether torch's fused step will use it, which wants `step` on the device.
    """
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device if fused else "cpu")
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)


def adam_direction(gradient: Tensor, state: State, *, betas: tuple[float, float], eps: float) -> Tensor:
    """m / (sqrt(v) + eps) after taking in one gradient, with bias correction (Kingma and Ba, 1412.6980).

    Where the gradient is not finite, the moments stay as they are.

    Args:
        gradient: of any shape.
        state: `step`, `exp_avg` (m) and `exp_avg_sq` (v), as `begin_moments` makes them; updated in place.
    """
    beta1, beta2 = betas
    state["step"] += 1
    count, whole = float(state["step"]), gradient.isfinite()
    m, v = state["exp_avg"], state["exp_avg_sq"]
    m.copy_(m.lerp(gradient, 1 - beta1).where(whole, m))
    v.copy_((v * beta2).addcmul_(gradient, gradient, value=1 - beta2).where(whole, v))
    denominator = (v / (1 - beta2**count)).sqrt_().add_(eps)
    return m / (1 - beta1**count) / denominator


def adamw_step(
    group: Mapping[str, Any],
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    states: Sequence[State],
    *,
    fused: bool | None = None,
) -> None:
    """torch's AdamW, by its own function: bit for bit `torch.optim.AdamW`.

    Args:
        group: `lr`, `betas`, `eps` and `weight_decay`.
        states: one of each parameter, as `begin_moments` makes them.
        fused: as torch has it.
    """
    beta1, beta2 = group["betas"]
    adamw(
        list(parameters),
        list(gradients),
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=fused,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )

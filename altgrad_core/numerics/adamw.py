"""Adam's direction and torch's AdamW step, as functions of plain tensors, for optimizers built around them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from altgrad_core.numerics.tracing import is_traced

State = MutableMapping[str, Any]
HOST_COUNTED = ("cpu", "mps")
"""The devices whose steps are counted on the host: others would be waited for, and could not capture a step in a graph."""


def begin_moments(state: State, parameter: Tensor, *, fused: bool | None = None) -> None:
    """Fill an empty optimizer state with `step` and the two moments of one parameter, all zero.

    Args:
        fused: whether torch's fused step will use it, which wants `step` on the device.
    """
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=step_device(parameter, fused=fused))
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)


def step_device(parameter: Tensor, *, fused: bool | None = None) -> torch.device:
    """Where the steps of a parameter are counted: beside it, but for CPUs and MPS on the host.

    Args:
        fused: as `begin_moments` has it.
    """
    return torch.device("cpu") if is_counted_on_host(parameter) and not fused else parameter.device


def is_counted_on_host(x: Tensor) -> bool:
    """Whether what changes from step to step is kept as numbers of the host, for parameters on the device of `x`."""
    return x.device.type in HOST_COUNTED


def bias_corrections(step: Tensor, *betas: float) -> list[Any]:
    """1 - beta ** step for each beta: numbers, or float64 tensors of shape () where the host does not count."""
    if is_counted_on_host(step) and not is_traced():
        count = float(step)
        return [1 - beta**count for beta in betas]
    return [1 - torch.pow(beta, step.double()) for beta in betas]


def adam_direction(gradient: Tensor, state: State, *, betas: tuple[float, float], eps: float) -> Tensor:
    """m / (sqrt(v) + eps) after taking in one gradient, with bias correction (Kingma and Ba, 1412.6980).

    Where the gradient is not finite, the moments stay as they are.

    Args:
        gradient: of any shape.
        state: `step`, `exp_avg` (m) and `exp_avg_sq` (v), as `begin_moments` makes them; updated in place.
    """
    beta1, beta2 = betas
    state["step"] += 1
    first, second = bias_corrections(state["step"], beta1, beta2)
    whole = gradient.isfinite()
    m, v = state["exp_avg"], state["exp_avg_sq"]
    m.copy_(m.lerp(gradient, 1 - beta1).where(whole, m))
    v.copy_((v * beta2).addcmul_(gradient, gradient, value=1 - beta2).where(whole, v))
    denominator = (v / second).sqrt_().add_(eps)
    return m / first / denominator


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

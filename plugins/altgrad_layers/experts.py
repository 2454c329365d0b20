"""Experts whose matrices are stacked in parameters of three dimensions, as Hugging Face has them since version 5."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import LayerSpec, Product, Rounding

if TYPE_CHECKING:
    from torch import Tensor, nn


class StackedExperts(LayerSpec):
    """Quantizes stacked experts of Hugging Face, such as those of Mixtral.

    Also of Qwen-MoE, gpt-oss and others: layers `gate_up_proj` (or `up_proj`) and `down_proj`.

    Every expert multiplies the tokens that are routed to it by its own matrix; all matrices of a stack are one weight, so
    that a scale of the whole tensor is that of all experts. A token is rounded once, whatever experts it goes to.
    """

    name: ClassVar = "stacked-experts"

    def adapts(self, module: nn.Module) -> bool:
        """Whatever implementation the configuration names; not experts that are spread over devices."""
        return _is_stacked(module) and not module._is_expert_parallel

    def refusal(self, module: nn.Module) -> str | None:
        """Experts on several devices, and the routers of experts."""
        if type(module).__name__.endswith("TopKRouter"):
            return "a router is not quantized: rounding would make it choose other experts"
        return "experts that are spread over devices are not supported" if _is_stacked(module) else None

    def products(self, module: Any) -> Sequence[Product]:
        """Both stacks of matrices, of shape (experts, outputs, inputs), or transposed."""
        contracted: Any = {"weight": (-2,)} if module.is_transposed else {}
        return tuple(Product(name, name, contracted=contracted) for name in (_first(module), "down_proj"))

    def forward(
        self, module: Any, rounding: Rounding, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
    ) -> Tensor:
        """Tokens, (tokens, width), each through its experts, (tokens, k), and summed with their weights, (tokens, k)."""
        k = top_k_index.shape[-1]
        experts, order = top_k_index.reshape(-1).sort(stable=True)
        first = _first(module)
        x = rounding.round(hidden_states, "activation", product=first)[order // k]
        x = _grouped(module, rounding, x, experts, name=first)
        x = module._apply_gate(x) if module.has_gate else module.act_fn(x)
        x = _grouped(module, rounding, rounding.round(x, "activation", product="down_proj"), experts, name="down_proj")
        if module.has_post_expert_norm:
            x = module.post_expert_norm(x)
        x = x * top_k_weights.reshape(-1)[order].unsqueeze(-1)
        return x[order.argsort()].unflatten(0, (-1, k)).sum(dim=1).to(hidden_states.dtype)


def _is_stacked(module: Any) -> bool:
    """Nothing is imported: where the library is not loaded, no module is of its classes."""
    if "transformers.integrations.moe" not in sys.modules:
        return False
    weight = getattr(module, "down_proj", None)
    return getattr(weight, "ndim", 0) == 3 and hasattr(module, "_apply_gate") and hasattr(module, "is_transposed")


def _first(module: Any) -> str:
    return "gate_up_proj" if module.has_gate else "up_proj"


def _grouped(module: Any, rounding: Rounding, x: Tensor, experts: Tensor, *, name: str) -> Tensor:
    """Each row of x, (rows, inputs), times the matrix of its expert; `experts`, (rows,), in ascending order."""
    import torch

    stack = rounding.round(getattr(module, name), "weight", product=name)
    matrices = stack if module.is_transposed else stack.mT
    counts = torch.bincount(experts, minlength=len(matrices)).tolist()
    parts = [rows @ matrix for rows, matrix in zip(x.split(counts), matrices, strict=True)]
    y = rounding.round_gradient(torch.cat(parts), product=name)
    biased: Tensor = y + getattr(module, f"{name}_bias")[experts] if module.has_bias else y
    return biased

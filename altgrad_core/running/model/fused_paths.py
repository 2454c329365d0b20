"""Fused forward passes of torch that read weights without calling their layers: off where a layer is quantized."""

from __future__ import annotations

from typing import Any

from torch import nn

from altgrad_core.running.model.layers import quantized_modules


def close_fused_paths(model: nn.Module) -> None:
    """Have torch's transformer encoders call their layers, in evaluation too, where one of these is quantized.

    The layer takes its fused path only without hooks; the stack makes nested tensors only for fused layers.
    """
    for module in model.modules():
        is_encoder = isinstance(module, nn.TransformerEncoderLayer | nn.TransformerEncoder)
        if not is_encoder or not quantized_modules(module):
            continue
        if isinstance(module, nn.TransformerEncoderLayer):
            module.register_forward_pre_hook(_nothing)
        elif module.use_nested_tensor:
            module.use_nested_tensor = False  # type: ignore[assignment]
            vars(module)[_REOPENS] = True


def reopen_fused_paths(model: nn.Module) -> None:
    """Undo `close_fused_paths`."""
    for module in model.modules():
        for number in [number for number, hook in module._forward_pre_hooks.items() if hook is _nothing]:
            del module._forward_pre_hooks[number]
        if vars(module).pop(_REOPENS, False):
            module.use_nested_tensor = True  # type: ignore[assignment]


_REOPENS = "_altgrad_reopens_nested_tensor"


def _nothing(module: nn.Module, args: Any) -> None:
    """A hook that changes nothing."""

"""Calls of `scaled_dot_product_attention`, computed with rounded operands for the time being."""

from __future__ import annotations

from typing import Any

from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from altgrad_core import Rounding
from altgrad_layers.attend import attention


class Intercepting(TorchFunctionMode):
    """Meanwhile every such call is computed by `attention`; all other functions of torch are what they are."""

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self._rounding = rounding

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `torch.overrides`."""
        if func is scaled_dot_product_attention:
            return attention(self._rounding, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

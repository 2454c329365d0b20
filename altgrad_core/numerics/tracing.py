"""Whether operations are written down instead of being done, so that they must be operations that torch knows."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether `torch.compile`, `torch.export` or `make_fx` looks on."""
    return (
        torch.compiler.is_compiling() or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )

"""Whether operations are written down instead of being done, so that they must be operations that torch knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def is_traced() -> bool:
    """Whether `torch.compile`, `torch.export` or `make_fx` looks on."""
    return (
        torch.compiler.is_compiling() or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )


def constant_when_traced(function: FunctionT) -> FunctionT:
    """Have torch.compile call `function` itself when it traces, and take the result for a constant.

    This is the mark that `torch.compiler.assume_constant_result` sets, which first imports the whole compiler: a second of
    CPU time.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_when_traced
def is_transformed() -> bool:
    """Whether `vmap`, `grad` or another transform of `torch.func` looks on."""
    return bool(torch._C._are_functorch_transforms_active())

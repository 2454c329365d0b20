"""Whether operations are written down instead of being done, so that they must be operations that torch knows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch._compile import _disable_dynamo

_PROXY, _FAKE = torch._C._TorchDispatchModeKey.PROXY, torch._C._TorchDispatchModeKey.FAKE
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def is_traced() -> bool:
    """Whether `torch.compile`, `torch.export` or `make_fx` looks on, or tensors have no numbers (`FakeTensorMode`)."""
    mode = torch._C._get_dispatch_mode
    return torch.compiler.is_compiling() or mode(_PROXY) is not None or mode(_FAKE) is not None


def constant_when_traced(function: FunctionT) -> FunctionT:
    """Have torch.compile call `function` itself when it traces, and take the result for a constant.

    This is the mark that `torch.compiler.assume_constant_result` sets, which first imports the whole compiler: a second of
    CPU time.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def not_traced(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Have torch.compile leave `function` out of its graph, and run it as it is.

    `torch.compiler.disable` does that as well, and imports the whole compiler, as does what it makes when it is first called.
    This imports it only where it is in use.
    """
    hidden = _disable_dynamo(function)

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return (hidden if torch.compiler.is_compiling() else function)(*args, **kwargs)

    return call


@constant_when_traced
def is_transformed() -> bool:
    """Whether `vmap`, `grad` or another transform of `torch.func` looks on."""
    return bool(torch._C._are_functorch_transforms_active())

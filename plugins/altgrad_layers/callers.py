"""Which modules call `scaled_dot_product_attention`, told by the names that the code of their classes uses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

CALLED = "scaled_dot_product_attention"
INTERFACE = "ALL_ATTENTION_FUNCTIONS"
"""Where Hugging Face looks up the implementation that a configuration names."""


def attends(module: nn.Module) -> bool:
    """Whether a method of its class calls it, or its forward pass asks Hugging Face for one; torch's own layers do not."""
    return not type(module).__module__.startswith("torch.") and bool(_named(type(module).__mro__))


def is_eager(module: nn.Module) -> bool:
    """Whether it is of Hugging Face, and its configuration names another implementation than `sdpa`."""
    if CALLED in _named(type(module).__mro__):
        return False
    return getattr(getattr(module, "config", None), "_attn_implementation", None) != "sdpa"


@cache
def _named(classes: tuple[type, ...]) -> frozenset[str]:
    """Which of the two names the code of a class uses: the one in any method, the other in the forward pass."""
    methods = (value for base in classes for value in vars(base).values() if inspect.isfunction(value))
    calls = any(_uses(method, CALLED) for method in methods)
    forward = next(vars(cls)["forward"] for cls in classes if "forward" in vars(cls))
    looks_up = inspect.isfunction(forward) and _uses(forward, INTERFACE)
    return frozenset(name for name, is_used in ((CALLED, calls), (INTERFACE, looks_up)) if is_used)


def _uses(function: Callable[..., Any], name: str) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and any(name in part.co_names for part in _codes(code))


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of those defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)

"""Which function of attention a module calls, told by the names that the code of its class uses."""

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
FUSED = ("flex_attention", "flash_attn_func", "flash_attn_qkvpacked_func", "flash_attn_varlen_func")
"""Kernels that compute all of attention, of torch and of the package flash_attn."""


def attends(module: nn.Module) -> bool:
    """Whether a method of its class calls it, or its forward pass asks Hugging Face for one; torch's own layers do not."""
    return bool(_named_by(module).intersection((CALLED, INTERFACE)))


def fused(module: nn.Module) -> str | None:
    """The kernel that a method of its class calls instead, if it is one of `FUSED`."""
    named = _named_by(module)
    return None if CALLED in named else next((name for name in FUSED if name in named), None)


def is_eager(module: nn.Module) -> bool:
    """Whether it is of Hugging Face, and its configuration names another implementation than `sdpa`."""
    if CALLED in _named_by(module):
        return False
    return getattr(getattr(module, "config", None), "_attn_implementation", None) != "sdpa"


def _named_by(module: nn.Module) -> frozenset[str]:
    return frozenset() if type(module).__module__.startswith("torch.") else _named(type(module).__mro__)


@cache
def _named(classes: tuple[type, ...]) -> frozenset[str]:
    """Which of all these names the code of a class uses: `INTERFACE` in the forward pass, others in any method."""
    methods = [value for base in classes for value in vars(base).values() if inspect.isfunction(value)]
    result = {name for name in (CALLED, *FUSED) if any(_uses(method, name) for method in methods)}
    forward = next(vars(cls)["forward"] for cls in classes if "forward" in vars(cls))
    if inspect.isfunction(forward) and _uses(forward, INTERFACE):
        result.add(INTERFACE)
    return frozenset(result)


def _uses(function: Callable[..., Any], name: str) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and any(name in part.co_names for part in _codes(code))


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of those defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)

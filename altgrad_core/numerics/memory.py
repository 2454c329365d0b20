"""Tensors as kernels read them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from torch import Tensor

Arguments = ParamSpec("Arguments")


def side_by_side(x: Tensor) -> Tensor:
    """The elements of a tensor one after another in memory, with the sign that they have there.

    The imaginary part of a conjugate tensor is a view that is negative, and its memory is not.
    """
    return x.detach().contiguous().resolve_neg()


def remembered(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Have `function` make the tensor of the same arguments once.

    Within `FakeTensorMode` it makes one that has no numbers, and no other mode can use it: that one is not remembered.
    """
    made: Callable[..., Any] = lru_cache(maxsize=256)(function)

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        from altgrad_core.numerics.tracing import is_traced

        chosen: Callable[..., Tensor] = function if is_traced() else made
        return chosen(*args, **kwargs)

    return call

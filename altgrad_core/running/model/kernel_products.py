"""The products of kernels of torch that its own counter does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch

Shape = Sequence[int]


def kernel_formulas() -> dict[Any, Callable[..., int]]:
    """For `FlopCounterMode`: floating-point operations from the shapes of arguments, two for each multiply-add."""
    formulas: dict[str, Callable[..., int]] = {
        "mkldnn_rnn_layer": _recurrent_layer,
        "_cudnn_rnn": _recurrent,
        "miopen_rnn": _recurrent,
        "_trilinear": _bilinear,
        "_grouped_mm": _grouped,
        "addbmm": lambda _, a, b, **more: 2 * prod(a) * b[-1],
        "mv": lambda matrix, *rest, **more: 2 * prod(matrix),
        "addmv": lambda _, matrix, *rest, **more: 2 * prod(matrix),
        "dot": lambda vector, *rest, **more: 2 * prod(vector),
    }
    return {
        getattr(torch.ops.aten, name): formula for name, formula in formulas.items() if hasattr(torch.ops.aten, name)
    }


@contextmanager
def without_fused_attention() -> Iterator[None]:
    """For the time being `nn.MultiheadAttention` and transformer encoders compute their products one by one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _recurrent_layer(x: Shape, inputs: Shape, hidden: Shape, *rest: Any, **more: Any) -> int:
    """Of one layer in one direction: both matrices at every position."""
    return 2 * prod(x[:-1]) * (prod(inputs) + prod(hidden))


def _recurrent(x: Shape, weights: Sequence[Shape], *rest: Any, **more: Any) -> int:
    """Of all layers: every matrix at every position."""
    return 2 * prod(x[:-1]) * sum(prod(weight) for weight in weights if len(weight) == 2)


def _bilinear(x: Shape, weight: Shape, *rest: Any, **more: Any) -> int:
    return 2 * x[0] * prod(weight)


def _grouped(a: Shape, b: Shape, *rest: Any, **more: Any) -> int:
    """Each row of `a` meets one matrix of `b`; where only `a` has a dimension of groups, each column of `b` meets one of `a`."""
    groups = a[0] if len(a) == 3 and len(b) == 2 else 1
    return 2 * prod(a) * b[-1] // groups

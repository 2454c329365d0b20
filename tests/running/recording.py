"""A step written down and run again without Python, as a CUDA graph would: operations of torch, and kernels in the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from altgrad_core.numerics import backends

pytest.importorskip("triton")
from torch._library.custom_ops import OPDEFS

from altgrad_core.numerics import adamw
from altgrad_core.numerics.backends import triton
from altgrad_core.numerics.triton import launch, run


class Recording(TorchDispatchMode):
    """Runs and writes down operations of torch, with their tensors; `replay` runs them again and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "altgrad":
            with self:
                return OPDEFS[func.name()]._init_fn(*args, **(kwargs or {}))
        assert func.name() not in ("aten::item", "aten::_local_scalar_dense"), "a number is read"
        call = partial(func, *args, **(kwargs or {}))
        result = call()
        if func._schema.is_mutable:
            self._steps.append(call)
        elif func.namespace == "aten" and not any(returned.alias_info for returned in func._schema.returns):
            self._steps.append(partial(_again, call, result))
        return result

    def start(self, really: Callable[..., None], *launched: Any) -> None:
        """Instead of `launch.start`."""
        with _disable_current_modes():
            really(*launched)
        self._steps.append(partial(really, *launched))

    def started(self) -> Any:
        """Kernels that are started are written down too, while this lasts."""
        return mock.patch.object(launch, "start", partial(self.start, launch.start))

    @torch.no_grad()
    def replay(self) -> None:
        for step in self._steps:
            step()


def _again(call: Callable[[], object], before: object) -> None:
    for old, new in zip(tree_leaves(before), tree_leaves(call()), strict=True):
        old.copy_(new)


@contextmanager
def kernels_here() -> Iterator[None]:
    """The kernels for CUDA, run by the interpreter on the CPU, where no scale is looked at to choose one, nor a step counted."""
    is_power_of_two = run._is_power_of_two
    with (
        mock.patch.object(triton, "DEVICE", "cpu"),
        mock.patch.object(run, "_is_power_of_two", lambda scale, how: scale is None and is_power_of_two(None, how)),
        mock.patch.object(backends, "ORDER", ("triton", "reference")),
        mock.patch.object(adamw, "HOST_COUNTED", ()),
    ):
        backends._chosen.cache_clear()
        yield
    backends._chosen.cache_clear()

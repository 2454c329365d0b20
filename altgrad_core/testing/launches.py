"""What a CUDA device would be asked to do, found without one: launches are written down instead of being made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from altgrad_core.numerics import backends
from altgrad_core.numerics.backends import triton as backend
from altgrad_core.numerics.triton import launch

DEVICE = "meta"
FREE = (
    "aten.empty",
    "aten.new_empty",
    "aten.detach",
    "aten._unsafe_view",
    "aten.lift_fresh",
    "aten.set_",
    "aten.is_same_size",
    "prim.",
    "profiler.",
)


class Launch(NamedTuple):
    """One start of a Triton kernel."""

    kernel: Any
    programs: int
    arguments: tuple[Any, ...]
    constants: dict[str, Any]


class Log:
    """What was launched: kernels of AltGrad, operations of torch, and how often the host waited for the device."""

    def __init__(self) -> None:
        self.kernels: list[Launch] = []
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    @property
    def launches(self) -> int:
        """All launches, an operation of torch counted as one."""
        return len(self.kernels) + sum(self.operations.values())

    def lines(self) -> Iterator[str]:
        """How often each was launched, the most frequent first."""
        names = Counter(one.kernel.fn.__name__ for one in self.kernels)
        for name, times in (names + self.operations).most_common():
            yield f"{times:6d}  {name}"


class _Operations(TorchDispatchMode):
    """Counts operations of torch on tensors of the device other than views and allocations."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func), kwargs or {}
        if func.namespace == "altgrad":  # what a device would run, in place of what tells shapes alone
            with self:
                return OPDEFS[func.name()]._init_fn(*args, **kwargs)
        if name.startswith("aten._local_scalar_dense") and args[0].is_meta:
            self._log.waits[name] += 1
            return torch.ones((), dtype=args[0].dtype).item()
        if (
            name.startswith("aten._to_copy")
            and args[0].is_meta
            and torch.device(kwargs.get("device") or DEVICE).type == "cpu"
        ):
            self._log.waits[name] += 1
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if _is_blocking_copy_to_device(name, args, kwargs):
            self._log.waits[f"{name} to the device"] += 1
        if name.startswith("aten.bincount") and args[0].is_meta:  # its length depends on the numbers, so CUDA waits
            self._log.waits[name] += 1
            self._log.operations[name] += 1
            return torch.empty(max(1, (args[2:] or (0,))[0]), dtype=torch.int64, device=DEVICE)
        result = func(*args, **kwargs)
        if not (_is_view(func) or name.startswith(FREE)) and _is_on_device((args, kwargs, result)):
            self._log.operations[name] += 1
        return result


def _is_blocking_copy_to_device(name: str, args: Any, kwargs: Any) -> bool:
    """Whether this copies from the host to the device and waits until it is done, which is after all that was asked before."""
    if name.startswith("aten._to_copy"):
        is_there = torch.device(kwargs.get("device") or args[0].device).type == DEVICE
        return is_there and not args[0].is_meta and not kwargs.get("non_blocking")
    if name.startswith("aten.copy_"):
        is_free = args[2] if len(args) > 2 else kwargs.get("non_blocking")
        return bool(args[0].is_meta and not args[1].is_meta and not is_free)
    return False


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _is_on_device(values: Any) -> bool:
    flat, _ = tree_flatten(values)
    return any(isinstance(one, torch.Tensor) and one.is_meta for one in flat)


@contextmanager
def counted() -> Iterator[Log]:
    """Write down what is launched for tensors of the device `meta`, which stands for a CUDA device.

    They have shapes and types and no numbers: what is read from one is 1.
    """
    log = Log()

    def start(kernel: Any, programs: int, device: Any, arguments: Any, constants: Any) -> None:
        log.kernels.append(Launch(kernel, programs, arguments, constants))

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(backend, "DEVICE", DEVICE))
        stack.enter_context(mock.patch.object(launch, "start", start))
        stack.callback(backends._chosen.cache_clear)
        backends._chosen.cache_clear()
        stack.enter_context(_Operations(log))
        yield log

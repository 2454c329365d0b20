"""The settings of torch that hold for a whole process, and a guard that puts them back when a plugin has changed them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def defaults() -> dict[str, Any]:
    """The default type and device, the threads and the precision, by name; nothing where torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "precision of float32 products": torch.get_float32_matmul_precision(),
    }


def put_back(before: dict[str, Any]) -> None:
    """Set what `defaults` told."""
    torch: Any = sys.modules["torch"]
    torch.set_default_dtype(before["type"])
    torch.set_default_device(None if before["device"].type == "cpu" else before["device"])
    torch.set_grad_enabled(before["gradients"])
    torch.set_num_threads(before["number of threads"])
    torch.set_float32_matmul_precision(before["precision of float32 products"])


@contextmanager
def kept_defaults(changed: list[str]) -> Iterator[None]:
    """Put back what is changed meanwhile, and list it in `changed` as `type to torch.float64`.

    Where torch is loaded meanwhile, only what has a known value to begin with can be put back: the type and the device.
    """
    before = defaults()
    try:
        yield
    finally:
        after = defaults()
        if after:
            before = before or {**after, **_fresh()}
            changed += [f"{name} to {value}" for name, value in after.items() if before[name] != value]
            if changed:
                put_back(before)


def _fresh() -> dict[str, Any]:
    torch: Any = sys.modules["torch"]
    return {
        "type": torch.float32,
        "device": torch.device("cpu"),
        "gradients": True,
        "precision of float32 products": "highest",
    }

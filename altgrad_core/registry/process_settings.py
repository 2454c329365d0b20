"""Settings that hold for a whole process, and a guard that restores them when a plugin has changed them while loading.

A plugin that is only installed, and not used, must not change a run.
"""

from __future__ import annotations

import locale
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from altgrad_core.numerics.subnormals import flushes_subnormals, set_flushing


class Setting(NamedTuple):
    """One setting of the process: how to read it, and how to set it.

    Attributes:
        fresh: of torch's and numpy's, the value before anybody has changed it; None where it is not known.
    """

    get: Callable[[], Any]
    set: Callable[[Any], object]
    fresh: Any = None


def _umask() -> str:
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:03o}"


def _directory() -> str | None:
    with suppress(FileNotFoundError):  # somebody removed it
        return str(Path.cwd())
    return None


def _change_directory(path: str | None) -> None:
    if path is not None:
        os.chdir(path)


def _set_handler(handler: Any) -> None:
    with suppress(ValueError, TypeError):  # not in the main thread; a handler that is not Python's
        signal.signal(signal.SIGTERM, handler)


OF_PYTHON = {
    "working directory": Setting(_directory, _change_directory),
    "umask": Setting(_umask, lambda mask: os.umask(int(mask, 8))),
    "recursion limit": Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "locale of numbers": Setting(
        lambda: locale.setlocale(locale.LC_NUMERIC), lambda name: locale.setlocale(locale.LC_NUMERIC, name)
    ),
    "handler of SIGTERM": Setting(lambda: signal.getsignal(signal.SIGTERM), _set_handler),
    "flushing of subnormal numbers": Setting(flushes_subnormals, set_flushing),
}


def _of_torch() -> dict[str, Setting]:
    """The settings of torch; none where it is not loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    return {
        "default type of torch": Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        "default device of torch": Setting(
            torch.get_default_device,
            lambda device: torch.set_default_device(None if device.type == "cpu" else device),
            torch.device("cpu"),
        ),
        "gradients of torch": Setting(torch.is_grad_enabled, torch.set_grad_enabled, True),
        "number of threads of torch": Setting(torch.get_num_threads, torch.set_num_threads),
        "precision of float32 products in torch": Setting(
            torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
        ),
        "deterministic algorithms of torch": Setting(
            torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, False
        ),
    }


def _of_numpy() -> dict[str, Setting]:
    """How numpy answers overflow and the like; nothing where it is not loaded."""
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "geterr"):
        return {}
    fresh = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
    return {"floating-point errors of numpy": Setting(numpy.geterr, lambda how: numpy.seterr(**how), fresh)}


def _known() -> dict[str, Setting]:
    return OF_PYTHON | _of_torch() | _of_numpy()


@contextmanager
def kept_settings(changed: list[str]) -> Iterator[None]:
    """Restore what is changed meanwhile, and list it in `changed` as `umask to 077`.

    Where torch or numpy is loaded meanwhile, a setting of it whose fresh value is not known stays as it is.
    """
    before = {name: setting.get() for name, setting in _known().items()}
    try:
        yield
    finally:
        for name, setting in _known().items():
            now, then = setting.get(), before.get(name, setting.fresh)
            if now != then and (name in before or then is not None):
                changed.append(f"{name} to {now}")
                setting.set(then)

"""Compiled kernels are kept on disk where there is room for them."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any


@cache
def _warn_once(place: str, reason: str) -> None:
    """Warn once in a process: others reset what the filters of Python remember."""
    warnings.warn(
        f"compiled kernels are not cached in {place}: {reason}; they are compiled again in each process. Free some space, or set "
        "NUMBA_CACHE_DIR to another directory",
        stacklevel=1,
    )


def kept_where_possible(kernel: Any) -> Any:
    """The same kernel; a disk that takes no compiled code costs a warning, and time in each process."""
    store = kernel._cache
    save = store.save_overload

    def save_or_warn(signature: Any, compiled: Any) -> None:
        try:
            save(signature, compiled)
        except OSError as error:
            _warn_once(str(store.cache_path), error.strerror or str(error))

    store.save_overload = save_or_warn
    return kernel

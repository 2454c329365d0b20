"""Compiled kernels are kept on disk where there is room for them."""

from __future__ import annotations

import warnings
from typing import Any


def kept_where_possible(kernel: Any) -> Any:
    """The same kernel; a disk that takes no compiled code costs a warning, and time in each process."""
    cache = kernel._cache
    save = cache.save_overload

    def save_or_warn(signature: Any, compiled: Any) -> None:
        try:
            save(signature, compiled)
        except OSError as error:
            warnings.warn(
                f"compiled kernels are not kept in {cache.cache_path}: {error.strerror}; they are compiled again in each "
                "process. Free some space, or set NUMBA_CACHE_DIR to another directory",
                stacklevel=1,  # the same place for every kernel: it is said once
            )

    cache.save_overload = save_or_warn
    return kernel

"""Backends compute operations. `choose` takes the first of `ORDER` that supports exactly the case at hand."""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from altgrad_core.numerics.backends.case import Case, Operation
from altgrad_core.numerics.checks import check_values

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.numerics.moves import Path
    from altgrad_core.numerics.quantizer import Quantizer

ORDER = ("numba", "triton", "inductor", "reference")  # the last one supports everything


def choose(case: Case) -> Any:
    """The backend for a case: a module that has its operation as a function.

    A backend says in its function `supports(case)` what it has. What it does not name goes on to the next.
    """
    return load(_chosen(case, ORDER))


def choose_for(operation: Operation, x: Tensor, how: Quantizer) -> Any:
    """The backend for what a quantizer does with a tensor; the quantizer keeps its name for others of this kind."""
    kind = (operation, x.device, x.dtype, x.is_contiguous(), ORDER)
    name = how.kept.get(kind)
    if name is None:
        case = Case(operation, x.device.type, *kind[2:4], (how.target,), how.rounding, how.nonfinite, how.tiling)
        name = how.kept[kind] = _chosen(case, ORDER)
    return load(name)


def choose_move(operation: Operation, weight: Tensor, path: Path | None = None) -> Any:
    """The backend that moves a weight, along a path where the operation has one.

    Raises:
        FormatError: a weight of a type other than float.
    """
    check_values(operation, weight)
    grids = () if path is None else (path.line, path.format)
    return choose(Case(operation, weight.device.type, weight.dtype, weight.is_contiguous(), grids))


@lru_cache(maxsize=4096)
def _chosen(case: Case, order: tuple[str, ...]) -> str:
    for name in order:
        backend = load(name)
        if backend is not None and backend.supports(case):
            return name
    raise LookupError(f"no backend of {order} supports {case}")


@lru_cache(maxsize=64)
def load(name: str) -> ModuleType | None:
    """The backend with this name, here or by the path of its module; None where it cannot be loaded, with a warning."""
    try:
        return import_module(name if "." in name else f"{__name__}.{name}")
    except Exception as error:  # a broken compiler of any kind leaves the reference, which is always right
        message = f"{name.capitalize()} cannot run here ({error}); quantizing by the slow reference path"
        warnings.warn(message, stacklevel=2)
        return None

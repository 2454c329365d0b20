"""Whether a module is of a class and computes what that class computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def why_not(module: nn.Module, *classes: type[nn.Module]) -> str | None:
    """The reason where a module is of one of the classes and computes something else."""
    from torch.nn.modules.lazy import LazyModuleMixin

    if not isinstance(module, classes):
        return None
    if isinstance(module, LazyModuleMixin):
        return "its shape is not known yet: call the model once before it is quantized"
    return None if computes_as(module, *classes) else f"{type(module).__name__} has a forward pass of its own"


def computes_as(module: nn.Module, *classes: type[nn.Module]) -> bool:
    """Whether it is of one of the classes, subclasses included, without a forward pass of its own, and has its weights."""
    from torch.nn.modules.lazy import LazyModuleMixin

    if isinstance(module, LazyModuleMixin):
        return False
    return any(isinstance(module, cls) and type(module).forward is cls.forward for cls in classes)

"""torch's optimizer without the import of torch's compiler, which takes more than a second of CPU time."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class LeanOptimizer(Optimizer):
    """`torch.optim.Optimizer`, but where nothing has imported `torch._dynamo`, neither do its methods.

    torch hides these methods from `torch.compile`, and imports the compiler for that when one is first called. Once it is
    imported, they are torch's own. A `step` that torch defines imports it as well: define one under `torch.no_grad` instead.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch."""
        _lean(Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch."""
        _lean(Optimizer.zero_grad)(self, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """As torch."""
        saved: dict[str, Any] = _lean(Optimizer.state_dict)(self)
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch."""
        _lean(Optimizer.load_state_dict)(self, state_dict)


def _lean(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method itself where no compiler is imported that it would have to be hidden from."""
    return method if "torch._dynamo" in sys.modules else inspect.unwrap(method)

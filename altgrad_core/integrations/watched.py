"""What the callbacks of training libraries have in common: a plan that is attached once, and the watch of one training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from altgrad_core.contracts.monitor import Monitor
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.unwrapped import plain_optimizer
from altgrad_core.running.watching.watch import Watch, watch


class Watched:
    """A plan, what is to be watched, and the watch while a training goes on.

    Args:
        plan: of the model, if it is quantized.
        monitors, every: see `altgrad_core.watch`.
        out: the run directory, if it is not to be the default one of the library.
    """

    def __init__(
        self,
        plan: Plan | None,
        *,
        monitors: Sequence[str | Mapping[str, Any] | Monitor],
        every: int | None,
        out: str | Path | None,
    ) -> None:
        self._plan, self._monitors, self._every, self._out = plan, monitors, every, out
        self._attached: Optimizer | None = None
        self.watch: Watch | None = None
        self._last: dict[str, Any] = {}

    def attach(self, optimizer: Any) -> Optimizer:
        """Make the steps of a library's optimizer those of the plan; the optimizer of torch within."""
        plain = plain_optimizer(optimizer)
        if self._plan is not None and self._attached is not plain:
            self._plan.attach(plain)
            self._attached = plain
        return plain

    def begin(
        self, model: nn.Module, optimizer: Optimizer, *, out: Path, state: dict[str, Any] | None, **how: Any
    ) -> None:
        """Begin to watch.

        Args:
            out: the run directory by default.
            state: of a watch that this one goes on with.
            how: `steps` and `steps_per_epoch` of `altgrad_core.watch`.
        """
        options: dict[str, Any] = {"monitors": self._monitors, "every": self._every, "out": self._out or out, **how}
        self.watch = watch(model, optimizer, resume=state is not None, **options)
        if state is not None:
            self.watch.load_state_dict(state)

    def leave(self) -> None:
        """Let go of the run directory, after a training that was cut short; it can be resumed."""
        if self.watch is not None:
            self.watch.leave()
            self.watch = None

    def close(self) -> None:
        """Write the summary. A checkpoint that is saved later still has the state."""
        if self.watch is not None:
            self._last = self.watch.state_dict()
            self.watch.close()
            self.watch = None

    def state_dict(self) -> dict[str, Any]:
        """Of the watch, or of the one that was closed last; empty if there was none."""
        return self._last if self.watch is None else self.watch.state_dict()

"""An intervention turns numbers into decisions; it never sees a tensor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from altgrad_core.contracts.actions import Action
from altgrad_core.contracts.events import Backpropagated, Evaluated, Event, Updated
from altgrad_core.contracts.options import Stateful
from altgrad_core.contracts.task import METRICS

RUN_READINGS: dict[str, type[Event]] = {
    "loss": Backpropagated,
    "relative-loss": Backpropagated,
    "gradient-norm": Backpropagated,
    "learning-rate": Updated,
    "validation-loss": Evaluated,
    **dict.fromkeys(sorted(METRICS), Evaluated),
}
"""Readings that runs report by themselves, for the whole model (layer `"*"`), with the event they come from.

Losses are in the unit of the task (nats per token where tokens are predicted); `relative-loss` is the training loss over that of a
model that has learned nothing. Of the metrics (`perplexity`, `accuracy` and so on) a run reports those of its task.
"""


class Intervention(Stateful):
    """Decides, from new readings, what the run should change.

    A subclass sets `name`, `reads` and `acts` and writes `decide`, which is asked once per new reading, right after
    the event it comes from. Private attributes are its state, saved and restored with the run.

    Attributes:
        reads: the name of the reading it decides on: one of a monitor in the manifest, or of the run itself
            (`loss`, `relative-loss`, `gradient-norm`, `learning-rate`, `validation-loss`, a metric of its task). A tuple for
            several: it is then asked once after every event that brings any of them.
        acts: the kinds of action it may yield.
        replays: whether it takes recorded actions again, by options `records` and `event`: the one of `--replay`.
    """

    reads: ClassVar[str | tuple[str, ...]] = ""
    acts: ClassVar[tuple[type[Action], ...]] = ()
    replays: ClassVar[bool] = False

    @abstractmethod
    def decide(self, step: int, readings: dict[str, Any]) -> Iterable[Action]:
        """The actions to take.

        Args:
            readings: `{layer: number}` of the reading it reads; where `reads` is a tuple,
                `{reading: {layer: number}}` of those that are new.
        """

    def wants(self) -> tuple[str, ...]:
        """The readings of `reads`, whether one or several."""
        return (self.reads,) if isinstance(self.reads, str) else tuple(self.reads)

    def names_formats(self) -> Iterable[str]:
        """The formats it may switch to; each must be installed. By default the option `to`, if there is one."""
        to = getattr(self, "to", None)
        return [to] if isinstance(to, str) else []

    def names_layers(self) -> Iterable[str]:
        """The layer patterns it looks for; each must match a layer. By default the option `layers`, if there is one."""
        layers = getattr(self, "layers", None)
        return [layers] if isinstance(layers, str) else []

    def waits_for(self) -> int:
        """How many readings it needs before it can act; by default the option `patience`, if there is one."""
        patience = getattr(self, "patience", 1)
        return patience if isinstance(patience, int) else 1

    def contradicts(self, other: Intervention) -> str | None:
        """Why it makes no sense beside `other`, which comes earlier in the manifest; None where it does."""
        return None

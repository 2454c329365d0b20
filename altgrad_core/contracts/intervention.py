"""An intervention turns numbers into decisions; it never sees a tensor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from altgrad_core.contracts.actions import Action
from altgrad_core.contracts.events import Backpropagated, Evaluated, Event, Updated
from altgrad_core.contracts.options import Stateful

RUN_READINGS: dict[str, type[Event]] = {
    "loss": Backpropagated,
    "relative-loss": Backpropagated,
    "gradient-norm": Backpropagated,
    "learning-rate": Updated,
    "validation-loss": Evaluated,
    "perplexity": Evaluated,
}
"""Readings that every run reports by itself, for the whole model (layer `"*"`), with the event they come from.

Losses are in nats per token; `relative-loss` is the training loss over ln(vocabulary), the loss of a uniform guess.
"""


class Intervention(Stateful):
    """Decides, from new readings, what the run should change.

    A subclass sets `name`, `reads` and `acts` and writes `decide`, which is asked once per new reading, right after
    the event it comes from. Private attributes are its state, saved and restored with the run.

    Attributes:
        reads: the name of the reading it decides on: one of a monitor in the manifest, or of the run itself
            (`loss`, `relative-loss`, `gradient-norm`, `learning-rate`, `validation-loss`, `perplexity`).
        acts: the kinds of action it may yield.
    """

    reads: ClassVar[str] = ""
    acts: ClassVar[tuple[type[Action], ...]] = ()

    @abstractmethod
    def decide(self, step: int, readings: dict[str, Any]) -> Iterable[Action]:
        """The actions to take, given `{layer: number}` of the reading it reads."""

    def names_formats(self) -> Iterable[str]:
        """The formats it may switch to; each must be installed. By default the option `to`, if there is one."""
        to = getattr(self, "to", None)
        return [to] if isinstance(to, str) else []

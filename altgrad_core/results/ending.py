"""How a run ended: one record for commands, searches, reports and thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from altgrad_core.records.record import number

BEYOND_FLOAT32 = 2.0**128


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        status: `finished`, `diverged` (also: ended with a loss that is not finite), `stopped` or `crashed`. Without a
            summary: `interrupted` (by a signal; it can be resumed), `unfinished`, `missing` or `not begun`.
        validation_loss: in nats per token; NaN where there is none.
        entropy: the unigram entropy of the text, which a model reaches without any context; None where it is not known.
        reason: why it diverged, stopped or crashed, in words.
        summary: the content of `summary.json`; empty where there is none.
    """

    status: str
    validation_loss: float = math.nan
    entropy: float | None = None
    reason: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Ending | None:
        """From the content of `summary.json`; None where that is missing or tells no status."""
        status, data = summary.get("status"), summary.get("data")
        if status is None:
            return None
        loss = _number(summary.get("validation_loss"))
        entropy = _number(data.get("unigram_entropy")) if isinstance(data, Mapping) else None
        if status == "finished" and loss is not None and not abs(loss) < BEYOND_FLOAT32:
            status = "diverged"
        reason = summary.get("reason")
        text = reason if isinstance(reason, str) else None
        return cls(str(status), math.nan if loss is None else loss, entropy, text, summary)

    @property
    def is_stable(self) -> bool:
        """Whether it trained to its end, with a loss."""
        return self.status == "finished" and math.isfinite(self.validation_loss)

    @property
    def has_learned(self) -> bool:
        """Whether it is stable, with a loss below that of a guess without any context, where that is known."""
        return self.is_stable and (self.entropy is None or self.validation_loss < self.entropy)

    @property
    def rank(self) -> float:
        """The loss, infinite where the run did not end well."""
        return self.validation_loss if self.is_stable else math.inf


def _number(value: Any) -> float | None:
    try:
        return None if value is None else number(value)
    except (TypeError, ValueError, OverflowError):
        return None

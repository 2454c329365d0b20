"""Guards that one writes down in the manifest: a reading, a condition, patience, and what to do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from altgrad_core import (
    Action,
    ClipGradients,
    Intervention,
    ScaleLearningRate,
    SkipStep,
    Stop,
    SwitchFormat,
    Warn,
)
from altgrad_guards.streaks import continued

KINDS: dict[str, type[Action]] = {
    "warn": Warn,
    "stop": Stop,
    "skip-step": SkipStep,
    "clip": ClipGradients,
    "switch-format": SwitchFormat,
    "scale-learning-rate": ScaleLearningRate,
}
NEEDS = {"clip": "max_norm", "switch-format": "to", "scale-learning-rate": "factor"}


class Rule(Intervention):
    """Act once a reading has met a condition for `patience` readings in a row.

    Options:
        reading: any reading of a monitor in the manifest, or of the run itself.
        above, below: the condition; both: outside of that range. NaN meets any.
        layers: of the reading; a pattern, several separated by `|`.
        action: `warn`, `stop`, `skip-step`, `clip` (needs `max_norm`), `switch-format` (needs `to`), or
            `scale-learning-rate` (needs `factor`). What concerns a layer is done to the layer of the reading.
        again: whether it acts anew in every later streak; otherwise once for each layer.
    """

    name: ClassVar = "rule"

    reading: str
    above: float | None = None
    below: float | None = None
    patience: PositiveInt = 1
    layers: str = "*"
    action: Literal["warn", "stop", "skip-step", "clip", "switch-format", "scale-learning-rate"] = "warn"
    max_norm: PositiveFloat | None = None
    to: str | None = None
    factor: PositiveFloat | None = None
    diverged: bool = False
    again: bool = True
    _streaks: Counter[str] = Counter()
    _done: list[str] = []

    @property
    def reads(self) -> str:  # type: ignore[override]
        """The option `reading`."""
        return self.reading

    @property
    def acts(self) -> tuple[type[Action], ...]:  # type: ignore[override]
        """The kind of the option `action`."""
        return (KINDS[self.action],)

    @model_validator(mode="after")
    def _is_complete(self) -> Rule:
        if self.above is None and self.below is None:
            raise ValueError("a rule needs a condition: above, below, or both")
        for action, key in NEEDS.items():
            is_given = getattr(self, key) is not None
            if is_given != (self.action == action):
                is_missing = f'action "{action}" needs {key}'
                raise ValueError(f'{key} belongs to action "{action}"' if is_given else is_missing)
        return self

    def names_formats(self) -> Iterable[str]:
        """The format to switch to, if any."""
        return [] if self.to is None else [self.to]

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count readings that meet the condition, by layer."""
        for layer, value in readings.items():
            if not any(fnmatchcase(layer, pattern.strip()) for pattern in self.layers.split("|")):
                continue
            if continued(self._streaks, layer, self._holds(value), patience=self.patience):
                if self.again or layer not in self._done:
                    yield self._act(layer, value)
                self._done = sorted({*self._done, layer})

    def _holds(self, value: float) -> bool:
        is_above = self.above is not None and value > self.above
        is_below = self.below is not None and value < self.below
        return is_above or is_below or math.isnan(value)

    def _act(self, layer: str, value: float) -> Action:
        limits = [f"{sign} {limit:g}" for sign, limit in ((">", self.above), ("<", self.below)) if limit is not None]
        of = "" if layer == "*" else f" of {layer}"
        often = "" if self.patience == 1 else f" for {self.patience} readings"
        because = f"{self.reading}{of} {' or '.join(limits)}{often}, now {value:.4g}"
        given: dict[str, Any] = {"max_norm": self.max_norm, "to": self.to, "factor": self.factor}
        options = {key: value for key, value in given.items() if value is not None}
        if self.action in ("warn", "clip", "switch-format"):
            options["layer"] = layer
        if self.action == "stop":
            options["diverged"] = self.diverged
        return KINDS[self.action](because=because, **options)


class RankAlarm(Intervention):
    """Warn once the stable rank of a layer has dropped beyond its threshold; reads `rank-dropped`.

    Healthy runs in float32 drop too: it is a reason to look, and no proof of a collapse.
    """

    name: ClassVar = "rank-alarm"
    reads: ClassVar = "rank-dropped"
    acts: ClassVar = (Warn,)

    patience: PositiveInt = 1
    _dropped: Counter[str] = Counter()

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count readings by layer."""
        for layer, dropped in readings.items():
            if continued(self._dropped, layer, dropped > 0, patience=self.patience):
                yield Warn(layer=layer, because=f"the stable rank of {layer} dropped beyond its threshold")

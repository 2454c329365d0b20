"""Guards that one writes down in the manifest: a reading, a condition, patience, and what to do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from altgrad_core import (
    WHOLE_MODEL,
    Action,
    ClipGradients,
    Intervention,
    Options,
    ScaleLearningRate,
    SkipStep,
    Stop,
    SwitchFormat,
    Warn,
)
from altgrad_guards.chosen import chosen
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
EXCLUSIVE = ("switch-format", "scale-learning-rate")
"""Of these the first in a step wins."""


class Condition(Options):
    """What a reading must be: above or below a limit, or outside of two. NaN meets any.

    Options:
        reading: its name.
        above, below: the limits, at least one.
    """

    reading: str
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _leaves_something_out(self) -> Condition:
        if self.above is None and self.below is None:
            raise ValueError("a rule needs a condition: above, below, or both")
        if self.above is not None and self.below is not None and self.above < self.below:
            limits = f"above {self.above:g} or below {self.below:g}"
            raise ValueError(
                f"every number is {limits}; two limits mean outside of them: above the upper, below the lower"
            )
        return self

    def holds(self, value: float) -> bool:
        """Whether a number meets it."""
        is_above = self.above is not None and value > self.above
        is_below = self.below is not None and value < self.below
        return is_above or is_below or math.isnan(value)

    @property
    def limits(self) -> str:
        """Both, in signs."""
        signed = ((">", self.above), ("<", self.below))
        return " or ".join(f"{sign} {limit:g}" for sign, limit in signed if limit is not None)


class ReadingRule(Intervention):
    """Act once a reading has met a condition `patience` times in a row.

    Options:
        reading: any reading of a monitor in the manifest, or of the run itself.
        above, below: the condition; both: outside of that range. NaN meets any.
        when: in place of these, several such tables, `[{ reading = "stall-ratio", above = 0.9 }, ...]`. All must hold
            for one layer, each at its newest reading; a reading of the whole model counts for every layer. The first
            names the layers, and patience is counted in its readings.
        layers: of the reading; a pattern, several separated by `|`.
        action: `warn`, `stop`, `skip-step`, `clip` (needs `max_norm`), `switch-format` (needs `to`), or
            `scale-learning-rate` (needs `factor`). What concerns a layer is done to the layer of the reading.
        again: whether it acts again in every later streak; otherwise once for each layer.
        patience: readings in a row that must meet the condition.
        max_norm: of `clip`: the largest norm of a layer's gradient.
        to: of `switch-format`: the new format.
        factor: of `scale-learning-rate`.
        diverged: of `stop`: whether the run counts as diverged.
    """

    name: ClassVar = "rule"

    reading: str | None = None
    above: float | None = None
    below: float | None = None
    when: list[Condition] = []
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
    _met: dict[str, list[str]] = {}  # by condition, the layers whose newest reading meets it

    @property
    def reads(self) -> str | tuple[str, ...]:  # type: ignore[override]
        """The option `reading`, or those of `when`."""
        return self.reading or tuple(dict.fromkeys(condition.reading for condition in self.when))

    @property
    def acts(self) -> tuple[type[Action], ...]:  # type: ignore[override]
        """The kind of the option `action`."""
        return (KINDS[self.action],)

    @model_validator(mode="after")
    def _is_complete(self) -> ReadingRule:
        if (self.reading is None) != bool(self.when):
            raise ValueError("a rule needs either a reading, or several in when = [{ reading = ..., above = ... }]")
        if self.when and not (self.above is None and self.below is None):
            raise ValueError("above and below belong to reading; with when, set them in its tables")
        if self.reading is not None:
            Condition(reading=self.reading, above=self.above, below=self.below)
        for action, key in NEEDS.items():
            is_given = getattr(self, key) is not None
            if is_given != (self.action == action):
                is_missing = f'action "{action}" needs {key}'
                raise ValueError(f'{key} belongs to action "{action}"' if is_given else is_missing)
        return self

    @property
    def conditions(self) -> list[Condition]:
        """All that must hold."""
        if self.reading is None:
            return self.when
        return [Condition(reading=self.reading, above=self.above, below=self.below)]

    def names_formats(self) -> Iterable[str]:
        """The format to switch to, if any."""
        return [] if self.to is None else [self.to]

    def contradicts(self, other: Intervention) -> str | None:
        """Two that do the same kind of thing, differently, on the same condition."""
        if not isinstance(other, ReadingRule) or self.action not in ("stop", *EXCLUSIVE):
            return None
        mine, theirs = ({key: rule.model_dump()[key] for key in ("to", "factor", "diverged")} for rule in (self, other))
        if mine == theirs or self.model_dump(exclude=set(mine)) != other.model_dump(exclude=set(mine)):
            return None
        return f'on the same condition it asks for another "{self.action}", and the first of two always wins'

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Count readings that meet the condition, by layer."""
        options = readings if self.reading is None else {self.reading: readings}
        for place, condition in enumerate(self.conditions):
            if condition.reading in options:
                met = {layer for layer, value in options[condition.reading].items() if condition.holds(value)}
                kept = set(self._met.get(str(place), ())) - set(options[condition.reading])
                self._met[str(place)] = sorted(met | kept)
        for layer, value in chosen(options.get(self.conditions[0].reading, {}), self.layers):
            if continued(self._streaks, layer, self._all_hold(layer), patience=self.patience):
                if self.again or layer not in self._done:
                    yield self._act(layer, value)
                self._done = sorted({*self._done, layer})

    def _all_hold(self, layer: str) -> bool:
        met = [self._met.get(str(place), []) for place in range(len(self.conditions))]
        return all(layer in layers or WHOLE_MODEL in layers for layers in met)

    def _act(self, layer: str, value: float) -> Action:
        of = "" if layer == "*" else f" of {layer}"
        often = "" if self.patience == 1 else f" for {self.patience} readings"
        first, *others = self.conditions
        more = "".join(f" and {condition.reading} {condition.limits}" for condition in others)
        because = f"{first.reading}{of} {first.limits}{more}{often}, now {value:.4g}"
        given: dict[str, Any] = {"max_norm": self.max_norm, "to": self.to, "factor": self.factor}
        options = {key: value for key, value in given.items() if value is not None}
        if self.action in ("warn", "clip", "switch-format"):
            options["layer"] = layer
        if self.action == "stop":
            options["diverged"] = self.diverged
        return KINDS[self.action](because=because, **options)


class RankAlarm(Intervention):
    """Warn once the stable rank of a layer has dropped beyond its threshold.

    Reads `rank-dropped`.

    Healthy runs in float32 drop too: it is a reason to look, and no proof of a collapse.

    Options:
        patience: readings in a row, of one layer.
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

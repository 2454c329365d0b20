"""Doing again what the interventions of another run did, without what made them do it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from altgrad_core import (
    Action,
    ClipGradients,
    Intervention,
    ManifestPath,
    RollBack,
    ScaleLearningRate,
    SkipStep,
    Stop,
    SwitchFormat,
    Warn,
)

READS = {"Backpropagated": "loss", "Updated": "learning-rate", "Evaluated": "validation-loss"}
EARLY: tuple[type[Action], ...] = (SkipStep, ClipGradients)
LATE: tuple[type[Action], ...] = (Stop, SwitchFormat, ScaleLearningRate, RollBack, Warn)
KINDS = {kind.__name__: kind for kind in (*EARLY, *LATE)}


class Replay(Intervention):
    """Repeat the actions recorded in another run, at the same steps.

    With the manifest of that run, less its monitors and interventions, it trains the same weights, bit for bit.
    `altgrad run MANIFEST --replay RUN_DIR` writes the tables.

    Options:
        records: `records.jsonl` of that run.
        event: the event whose actions are taken.
    """

    name: ClassVar = "replay"
    replays: ClassVar = True

    records: ManifestPath
    event: Literal["Backpropagated", "Updated", "Evaluated"] = "Backpropagated"
    _pass: int = 0  # how often the run was rolled back
    _last: int = 0

    @field_validator("records")
    @classmethod
    def _exists(cls, path: ManifestPath) -> ManifestPath:
        if not path.is_file():
            raise ValueError(f"no such file: {path}")
        return path

    @property
    def reads(self) -> str:  # type: ignore[override]
        """A reading of that event."""
        return READS[self.event]

    @property
    def acts(self) -> tuple[type[Action], ...]:  # type: ignore[override]
        """What can be done at that event."""
        return (*EARLY, *LATE) if self.event == "Backpropagated" else LATE

    @cached_property
    def _log(self) -> dict[tuple[int, int], list[Action]]:
        """The actions by pass and step."""
        result: dict[tuple[int, int], list[Action]] = {}
        passes = 0
        with self.records.open(encoding="utf-8") as lines:
            for record in (json.loads(line) for line in lines if line.endswith("\n")):
                if record["kind"] != "action":
                    continue
                if record["event"] == self.event:
                    because = f"replayed from {record['intervention']}: {record['because']}"
                    action = KINDS[record["action"]](because=because, **record["asked"])
                    result.setdefault((passes, record["step"]), []).append(action)
                passes += "to_step" in record
        return result

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[Action]:
        """Those of this step; a step that is not later than the last one begins another pass."""
        self._pass, self._last = self._pass + (step <= self._last), step
        yield from self._log.get((self._pass, step), ())

"""A reading: the facts by which a number that a monitor reports is shown and judged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Worse = Literal["up", "down"]
Chart = Literal["line", "heat", "bar"]
SHARE = "share"
"""The unit of a fraction from 0 to 1, which is shown as a percentage."""


@dataclass(frozen=True)
class Reading:
    """What a monitor reports under one name.

    Progress, `diagnose` and reports show any reading by these facts. They are recorded with the run, so that it can be
    read where the monitor is not installed.

    Attributes:
        name: as records have it, such as `stall-ratio`.
        label: in words, for people; by default the name with spaces.
        unit: such as `dB`; `share` for a fraction that is shown as a percentage; empty for a plain number.
        worse: the direction in which it gets worse, if it has one.
        limit: the value beyond which, in that direction, it is an alarm; None never raises one.
        chart: how a report draws it: `line` over the steps, averaged over the layers; `heat` by layer and step, and by
            layer type and format; `bar` by layer type and format alone.
    """

    name: str
    label: str = ""
    unit: str = ""
    worse: Worse | None = None
    limit: float | None = None
    chart: Chart = "line"

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("-", " "))
        if self.limit is not None and self.worse is None:
            raise ValueError(f'{self.name}: limit = {self.limit} without worse; expected worse = "up" or "down"')

    def written(self) -> dict[str, Any]:
        """As plain data, without what is not set."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def of(cls, facts: Any) -> Reading | None:
        """From plain data of a record; None where that is damaged."""
        if not isinstance(facts, Mapping) or not isinstance(facts.get("name"), str):
            return None
        text = {key: facts[key] for key in ("label", "unit") if isinstance(facts.get(key), str)}
        worse: Worse | None = next((known for known in get_args(Worse) if known == facts.get("worse")), None)
        chart: Chart = next((known for known in get_args(Chart) if known == facts.get("chart")), "line")
        limit = facts.get("limit") if worse is not None else None
        number = None
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            with suppress(OverflowError):  # a whole number beyond all floats
                number = float(limit)
        return cls(facts["name"], **text, worse=worse, limit=number, chart=chart)

    @property
    def what(self) -> str:
        """The label with its unit, as an axis has it."""
        return f"{self.label} ({self.unit})" if self.unit and self.unit != SHARE else self.label

    def shown(self, value: float) -> str:
        """A value of it for people."""
        if self.unit == SHARE:
            return f"{100 * value:.3g} %"
        return f"{value:.4g} {self.unit}".strip()

    def badness(self, value: float) -> float:
        """Grows as the value gets worse; 0 for a reading that has no worse direction."""
        return {"up": value, "down": -value}.get(self.worse or "", 0.0)

    def is_alarming(self, value: float) -> bool:
        """Whether the value is beyond the limit."""
        return self.limit is not None and self.badness(value) > self.badness(self.limit)


def recorded_facts(record: Mapping[str, Any]) -> dict[str, Reading]:
    """By name, the readings that the first record of a run declares; empty where it declares none."""
    recorded = record.get("readings")
    result = [Reading.of(facts) for facts in recorded] if isinstance(recorded, list) else []
    return {reading.name: reading for reading in result if reading is not None}

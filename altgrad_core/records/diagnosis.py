"""What the records of a run tell about how it went: what broke first, the trend before it, the weakest layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from altgrad_core.records.record import number

LAST = 5  # readings of a trend
WORSE_UP = {  # readings of which a larger one is worse, with the value from which on it is worth a word
    "weight-nan-count": 0.0,
    "activation-nan-count": 0.0,
    "gradient-nan-count": 0.0,
    "stall-ratio": 0.5,
    "weight-overflow-rate": 0.001,
    "activation-overflow-rate": 0.001,
    "gradient-overflow-rate": 0.001,
    "weight-underflow-rate": 0.3,
    "activation-underflow-rate": 0.3,
    "gradient-underflow-rate": 0.1,
    "rank-drop": 0.3,
}


@dataclass(frozen=True)
class Trend:
    """The last readings of one kind, of the layer that is worst off in them: a list of (step, value)."""

    reading: str
    layer: str
    values: list[tuple[int, float]]


@dataclass(frozen=True)
class Evidence:
    """Why a layer is the weakest: its reading, and the median of all layers."""

    layer: str
    reading: str
    step: int
    value: float
    median: float


@dataclass(frozen=True)
class Diagnosis:
    """What the records tell.

    Attributes:
        broke: the record of what broke first, if anything did.
        trends: of every monitor, and of the loss.
        actions: what interventions did, and what was overruled.
        failures: monitors that failed, with the reason.
        weakest: evidence by the readings that can tell, worst first.
    """

    name: str
    steps: int
    step: int
    status: str
    reason: str | None
    broke: dict[str, Any] | None
    trends: list[Trend]
    actions: list[dict[str, Any]]
    failures: dict[str, str]
    weakest: list[Evidence]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def diagnose(records: Iterable[Mapping[str, Any]]) -> Diagnosis:
    """Read the records of one run, as far as they go."""
    began: Mapping[str, Any] = {}
    ended: Mapping[str, Any] = {}
    broke: dict[str, Any] | None = None
    actions: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    step = 0
    readings: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for record in records:
        kind, step = record["kind"], max(step, record.get("step", 0))
        if kind == "began":
            began = record
        elif kind == "ended":
            ended = record
        elif kind == "broke" and broke is None:
            broke = dict(record)
        elif kind in ("action", "overruled"):
            actions.append(dict(record))
        elif kind == "monitor-failed":
            failures.setdefault(record["monitor"], record["reason"])
        elif kind == "step":
            _add(readings, "loss", record["step"], {"*": record["loss"]})
            _add(readings, "gradient-norm", record["step"], {"*": record["gradient_norm"]})
        elif kind == "reading":
            _add(readings, record["reading"], record["step"], record["values"])
    return Diagnosis(
        name=began.get("name", "?"),
        steps=began.get("steps", 0),
        step=step,
        status=ended.get("status", "unfinished"),
        reason=ended.get("reason"),
        broke=broke,
        trends=[_trend(reading, layers) for reading, layers in readings.items()],
        actions=actions,
        failures=failures,
        weakest=_weakest(readings),
    )


def as_markdown(found: Diagnosis) -> str:
    """The diagnosis for people."""
    lines = [f"# {found.name}: {found.status} at step {found.step} of {found.steps}", ""]
    lines += [found.reason, ""] if found.reason else []
    lines += _what_broke(found)
    if found.weakest:
        lines += ["", "## The weakest layers", "", "| layer | reading | step | value | median of all layers |"]
        lines += ["|---|---|---|---|---|"]
        lines += [f"| {e.layer} | {e.reading} | {e.step} | {e.value:.4g} | {e.median:.4g} |" for e in found.weakest]
    lines += ["", f"## The last {LAST} readings, each of the layer that is worst off", ""]
    lines += ["| reading | layer | step: value |", "|---|---|---|"]
    for trend in found.trends:
        values = ", ".join(f"{step}: {value:.4g}" for step, value in trend.values)
        lines.append(f"| {trend.reading} | {trend.layer} | {values} |")
    lines += ["", "## What interventions did", ""]
    lines += [_action(action) for action in found.actions] or ["Nothing."]
    if found.failures:
        lines += ["", "## Monitors that failed", ""]
        lines += [f"- {name}: {reason}" for name, reason in found.failures.items()]
    return "\n".join(lines) + "\n"


def _what_broke(found: Diagnosis) -> list[str]:
    broke = found.broke
    if broke is None:
        lines = ["No loss and no gradient was NaN or infinite."]
        if found.weakest:
            worst = found.weakest[0]
            told = f"its {worst.reading} was {worst.value:.4g} at step {worst.step}, the median {worst.median:.4g}"
            return [*lines, f"The weakest layer is {worst.layer}: {told}."]
        if any(trend.reading in WORSE_UP for trend in found.trends):
            return [*lines, "No reading of any layer is alarming."]
        return [*lines, "No reading tells of a weak layer; monitors `flips` and `stability` would."]
    role = f" ({broke['role']})" if broke["role"] else ""
    lines = [
        "## What broke first",
        "",
        f"**Step {broke['step']}, {broke['phase']}, {broke['layer']}{role}**: {broke['what']}.",
    ]
    if (zeros := broke.get("gradient_zeros")) is not None:
        lines += ["", f"Of all elements of the gradients of that step {100 * number(zeros):.2f} % were zero."]
    if still := broke.get("layers_without_gradient"):
        lines += [f"Layers whose gradient was zero or missing altogether: {', '.join(still)}."]
    return lines


def _action(action: Mapping[str, Any]) -> str:
    where = f" on {action['layer']}" if action.get("layer", "*") != "*" else ""
    overruled = ", overruled" if action["kind"] == "overruled" else ""
    return (
        f"- step {action['step']}: {action['intervention']}: {action['action']}{where}{overruled}: {action['because']}"
    )


def _add(
    readings: dict[str, dict[str, list[tuple[int, float]]]], name: str, step: int, values: Mapping[str, Any]
) -> None:
    layers = readings.setdefault(name, {})
    for layer, value in values.items():
        layers.setdefault(layer, []).append((step, number(value)))


def _trend(reading: str, layers: Mapping[str, list[tuple[int, float]]]) -> Trend:
    """Of the layer whose last value is NaN, or the largest, or for other readings the smallest."""
    rising = reading in WORSE_UP or reading in ("loss", "gradient-norm")
    layer = max(layers, key=lambda name: _badness(layers[name][-1][1], rising))
    return Trend(reading, layer, layers[layer][-LAST:])


def _badness(value: float, rising: bool) -> float:
    return math.inf if math.isnan(value) else value if rising else -value


def _weakest(readings: Mapping[str, Mapping[str, list[tuple[int, float]]]]) -> list[Evidence]:
    """For every reading that can tell, its worst layer, if it is bad enough; readings in the order of `WORSE_UP`."""
    found = []
    for reading, enough in WORSE_UP.items():
        lasts = {layer: values[-1] for layer, values in readings.get(reading, {}).items() if layer != "*"}
        if not lasts:
            continue
        layer = max(lasts, key=lambda name: _badness(lasts[name][1], True))
        step, value = lasts[layer]
        if value > enough or math.isnan(value):
            ordered = sorted(value for _, value in lasts.values())
            found.append(Evidence(layer, reading, step, value, ordered[len(ordered) // 2]))
    return found

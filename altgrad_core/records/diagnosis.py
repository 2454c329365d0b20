"""What the records of a run tell about how it went: what broke first, the trend before it, the weakest layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.reading import Reading, recorded_facts
from altgrad_core.records.record import number

LAST = 5  # readings of a trend
OWN = {  # of the run itself
    "loss": Reading("loss", unit="nats per token", worse="up"),
    "gradient-norm": Reading("gradient-norm", worse="up"),
    "learning-rate": Reading("learning-rate", worse="down"),
}

Readings = dict[str, dict[str, list[tuple[int, float]]]]
"""By reading and layer, every step and value."""


@dataclass(frozen=True)
class Trend:
    """The last readings of one kind, of the layer that is worst off in them: a list of (step, value)."""

    reading: str
    layer: str
    values: list[tuple[int, float]]


@dataclass(frozen=True)
class Evidence:
    """Why a layer is the weakest: its reading, the operand that it is of, and the median of all layers."""

    layer: str
    role: str
    reading: str
    step: int
    value: float
    median: float


@dataclass(frozen=True)
class Rise:
    """How the loss rose in a run that diverged.

    Attributes:
        lowest, at: the smallest loss, and its step.
        last, step: the last loss, or that of the step that broke, and its step.
        rate: the learning rate at the lowest loss.
        growth: the gradient norm at the end over that at the lowest loss.
    """

    lowest: float
    at: int
    last: float
    step: int
    rate: float
    growth: float


@dataclass(frozen=True)
class Diagnosis:
    """What the records tell.

    Attributes:
        broke: the record of what broke first, if anything did.
        trends: of every monitor, and of the loss.
        actions: what interventions did, and what was overruled.
        failures: monitors that failed or reported NaN, with the reason.
        weakest: evidence by the readings that can tell, worst first.
        rise: of the loss, where the run diverged.
        judged: the readings recorded that have a limit, so that they can tell of a weak layer.
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
    rise: Rise | None = None
    judged: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def diagnose(records: Iterable[Mapping[str, Any]]) -> Diagnosis:
    """Read the records of one run, as far as they go."""
    began: Mapping[str, Any] = {}
    facts = dict(OWN)
    ended: Mapping[str, Any] = {}
    broke: dict[str, Any] | None = None
    actions: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    step = 0
    readings: Readings = {}
    for record in records:
        kind, step = record["kind"], max(step, record.get("step", 0))
        if kind == "began":
            began = record
            facts |= recorded_facts(record)
        elif kind == "ended":
            ended = record
        elif kind == "broke" and broke is None:
            broke = dict(record)
        elif kind in ("action", "overruled"):
            actions.append(dict(record))
        elif kind == "step":
            _add(readings, "loss", record["step"], {"*": record["loss"]})
            _add(readings, "gradient-norm", record["step"], {"*": record["gradient_norm"]})
            _add(readings, "learning-rate", record["step"], _rates(record))
        elif kind == "reading":
            _add(readings, record["reading"], record["step"], record["values"])
        if (failure := _failure(record)) is not None:
            failures.setdefault(numbered(record["monitor"], record), failure)
    return Diagnosis(
        name=began.get("name", "?"),
        steps=began.get("steps", 0),
        step=step,
        status=ended.get("status", "unfinished"),
        reason=ended.get("reason"),
        broke=broke,
        trends=[_trend(facts.get(name, Reading(name)), layers) for name, layers in readings.items() if layers],
        actions=actions,
        failures=failures,
        weakest=_weakest(readings, facts),
        rise=_rise(readings, until=broke["step"] if broke else step) if ended.get("status") == "diverged" else None,
        judged=tuple(name for name in readings if facts.get(name, Reading(name)).limit is not None),
    )


def as_markdown(result: Diagnosis) -> str:
    """The diagnosis for people."""
    of = (
        f" of {result.steps}" if 0 < result.steps >= result.step else ""
    )  # a script may promise none, or go on beyond it
    lines = [f"# {result.name}: {result.status} at step {result.step}{of}", ""]
    lines += [result.reason, ""] if result.reason else []
    lines += _what_broke(result)
    if result.weakest:
        lines += ["", "## The weakest layers", "", "| layer | role | reading | step | value | median |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += [
            f"| {e.layer} | {e.role} | {e.reading} | {e.step} | {e.value:.4g} | {e.median:.4g} |"
            for e in result.weakest
        ]
    lines += ["", f"## The last {LAST} readings, each for the worst layer", ""]
    lines += ["| reading | layer | step: value |", "|---|---|---|"]
    for trend in result.trends:
        values = ", ".join(f"{step}: {value:.4g}" for step, value in trend.values)
        lines.append(f"| {trend.reading} | {trend.layer} | {values} |")
    lines += ["", "## What interventions did", ""]
    lines += [_action(action) for action in result.actions] or ["Nothing."]
    if result.failures:
        lines += ["", "## Monitors that failed, or reported NaN", ""]
        lines += [f"- {name}: {reason}" for name, reason in result.failures.items()]
    return "\n".join(lines) + "\n"


def _what_broke(result: Diagnosis) -> list[str]:
    broke = result.broke
    if broke is None:
        return ["No loss and no gradient was NaN or infinite.", *_what_rose(result.rise), _what_is_weak(result)]
    role = f" ({broke['role']})" if broke["role"] else ""
    lines = [
        "## What broke first",
        "",
        f"**Step {broke['step']}, {broke['phase']}, {broke['layer']}{role}**: {broke['what']}.",
    ]
    lines += ["", *rose] if (rose := _what_rose(result.rise)) else []
    if (zeros := broke.get("gradient_zeros")) is not None:
        lines += ["", f"Of all elements of the gradients of that step {100 * number(zeros):.2f} % were zero."]
    if still := broke.get("layers_without_gradient"):
        lines += [f"Layers whose gradient was zero or missing altogether: {', '.join(still)}."]
    return lines


def _what_rose(rise: Rise | None) -> list[str]:
    if rise is None or not rise.last > rise.lowest:
        return []
    return [
        f"The loss rose from {rise.lowest:.4g} at step {rise.at}, where the learning rate was {rise.rate:.4g}, to "
        f"{rise.last:.4g} at step {rise.step}, and the norm of the gradient {rise.growth:.3g}-fold: unless a layer below "
        "explains it, the rate is too large."
    ]


def _what_is_weak(result: Diagnosis) -> str:
    if result.weakest:
        worst = result.weakest[0]
        text = f"its {worst.reading} was {worst.value:.4g} at step {worst.step}, the median {worst.median:.4g}"
        return f"The weakest layer is {worst.layer} ({worst.role}): {text}."
    if result.judged:
        return "No reading of any layer is alarming."
    return (
        "No reading shows a weak layer; add a monitor whose readings have a limit: altgrad list-plugins --kind monitor."
    )


def _action(action: Mapping[str, Any]) -> str:
    where = f" on {action['layer']}" if action.get("layer", "*") != "*" else ""
    overruled = ", overruled" if action["kind"] == "overruled" else ""
    who = numbered(action["intervention"], action)
    return f"- step {action['step']}: {who}: {action['action']}{where}{overruled}: {action['because']}"


def numbered(name: str, record: Mapping[str, Any]) -> str:
    """The name of a monitor or an intervention, with its place among those of one name."""
    return f"{name} #{record['instance']}" if "instance" in record else name


def _failure(record: Mapping[str, Any]) -> str | None:
    """What a record tells of a monitor that failed, or reported what is not a number."""
    if record["kind"] == "monitor-failed":
        return str(record["reason"])
    if record["kind"] != "reading":
        return None
    layer = next((layer for layer, value in record["values"].items() if value == "NaN"), None)
    return None if layer is None else f"NaN as {record['reading']} of {layer}, first at step {record['step']}"


def _rates(record: Mapping[str, Any]) -> dict[str, Any]:
    """The learning rate of the first parameter group, and of the others where they have their own."""
    rates = record.get("learning_rates", [record["learning_rate"]])
    return {"*" if place == 1 else f"group {place}": rate for place, rate in enumerate(rates, 1)}


def _add(readings: Readings, name: str, step: int, values: Mapping[str, Any]) -> None:
    layers = readings.setdefault(name, {})
    for layer, value in values.items():
        layers.setdefault(layer, []).append((step, number(value)))


def _trend(reading: Reading, layers: Mapping[str, list[tuple[int, float]]]) -> Trend:
    """Of the layer whose last value is NaN, or the worst; the smallest of a reading that has no worse direction."""
    layer = max(layers, key=lambda name: _badness(layers[name][-1][1], reading))
    return Trend(reading.name, layer, layers[layer][-LAST:])


def _badness(value: float, reading: Reading) -> float:
    if math.isnan(value):
        return math.inf
    return reading.badness(value) if reading.worse else -value


def _weakest(readings: Readings, facts: Mapping[str, Reading]) -> list[Evidence]:
    """For every reading that has a limit, its worst layer, if it is beyond that; readings in the order declared."""
    result = []
    for name, reading in facts.items():
        lasts = {layer: values[-1] for layer, values in readings.get(name, {}).items() if layer != "*"}
        if not lasts or reading.limit is None:
            continue
        layer = max(lasts, key=lambda layer: _badness(lasts[layer][1], reading))
        step, value = lasts[layer]
        if math.isnan(value) or reading.is_alarming(value):
            ordered = sorted(value for _, value in lasts.values())
            role = name.split("-")[0] if name.startswith(ROLES) else "weight"
            result.append(Evidence(layer, role, name, step, value, ordered[len(ordered) // 2]))
    return result


def _rise(readings: Readings, *, until: int) -> Rise | None:
    """From the lowest loss to the last one until that step."""
    names = ("loss", "gradient-norm", "learning-rate")
    losses, norms, rates = (dict(readings.get(name, {}).get("*", [])) for name in names)
    before = [step for step in losses if step <= until and step in norms and step in rates]
    finite = [step for step in before if math.isfinite(losses[step])]
    if not finite:
        return None
    at, step = min(finite, key=lambda step: losses[step]), max(before)
    growth = norms[step] / norms[at] if norms[at] > 0 else math.inf
    return Rise(losses[at], at, losses[step], step, rates[at], growth)

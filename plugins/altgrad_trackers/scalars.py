"""The few numbers of a record that a dashboard has curves of; never one for each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_TAGS: dict[str, dict[str, str]] = {
    "step": {"loss": "train/loss", "learning_rate": "train/learning_rate", "gradient_norm": "train/gradient_norm"},
    "evaluation": {"loss": "val/loss", "perplexity": "val/perplexity"},
    "clock": {"tokens_per_second": "clock/tokens_per_second"},
}
WHOLE_MODEL = "*"


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """`{tag: number}` of one record; empty for the kinds of record that hold no such numbers.

    Of a reading: the value of the whole model, where it has one, and the mean, least and greatest over its layers.
    """
    kind = record.get("kind", "")
    if kind != "reading":
        return {**_numbers(record, _TAGS.get(kind, {})), **(_rates(record) if kind == "step" else {})}
    reading = record["reading"]
    whole = _numbers(record["values"], {WHOLE_MODEL: f"model/{reading}"})
    return {**whole, **_spread(list(by_layer(record).values()), f"layers/{reading}")}


def _rates(record: Mapping[str, Any]) -> dict[str, float]:
    """The learning rate of every parameter group, where they have different ones."""
    recorded = record.get("learning_rates")
    rates = recorded if isinstance(recorded, list) else []
    numbers = {f"train/learning_rate/group-{place}": _number(rate) for place, rate in enumerate(rates, 1)}
    return {tag: number for tag, number in numbers.items() if number is not None}


def by_layer(record: Mapping[str, Any]) -> dict[str, float]:
    """`{layer: number}` of a reading; empty for other kinds of record, and without the whole model."""
    if record.get("kind") != "reading":
        return {}
    return _numbers(record["values"], {layer: layer for layer in record["values"] if layer != WHOLE_MODEL})


def _spread(values: list[float], tag: str) -> dict[str, float]:
    """Mean, least and greatest; a NaN among the values makes each of them NaN."""
    if not values:
        return {}
    if any(math.isnan(value) for value in values):
        values = [math.nan]
    mean = sum(values) / len(values)
    return {f"{tag}/mean": mean, f"{tag}/min": min(values), f"{tag}/max": max(values)}


def _numbers(values: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, float]:
    numbers = {tag: _number(values[key]) for key, tag in tags.items() if key in values}
    return {tag: number for tag, number in numbers.items() if number is not None}


def _number(value: Any) -> float | None:
    """A number, which records write as a string where JSON has none: "NaN", "Infinity", "-Infinity"."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None

"""The few numbers of a record that a dashboard is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_SCALARS = 100
"""Scalars of one record that are passed on; the records of the run hold them all."""

_TAGS: dict[str, dict[str, str]] = {
    "step": {"loss": "train/loss", "learning_rate": "train/learning_rate", "gradient_norm": "train/gradient_norm"},
    "evaluation": {"loss": "val/loss", "perplexity": "val/perplexity"},
    "clock": {"tokens_per_second": "clock/tokens_per_second"},
}
_WHOLE_MODEL = "*"


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """`{tag: number}` of one record; empty for the kinds of record that hold no such numbers."""
    kind = record.get("kind", "")
    if kind == "reading":
        tags = {layer: _reading_tag(layer, reading=record["reading"]) for layer in record["values"]}
        found = _numbers(record["values"], tags)
    else:
        found = _numbers(record, _TAGS.get(kind, {}))
    return dict(list(found.items())[:MOST_SCALARS])


def _reading_tag(layer: str, *, reading: str) -> str:
    return f"model/{reading}" if layer == _WHOLE_MODEL else f"layer/{layer}/{reading}"


def _numbers(values: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, float]:
    numbers = {tag: _number(values[key]) for key, tag in tags.items() if key in values}
    return {tag: number for tag, number in numbers.items() if number is not None}


def _number(value: Any) -> float | None:
    """A number, which records write as a string where JSON has none: "NaN", "Infinity", "-Infinity"."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None

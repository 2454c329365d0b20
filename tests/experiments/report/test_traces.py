"""Readings by layer and step, gathered into columns."""

from __future__ import annotations

import math
from typing import Any

import pytest

from altgrad_core.experiments.report.traces import MOST_COLUMNS, traces


def reading(step: Any, values: Any, name: str = "stall-ratio") -> dict[str, Any]:
    return {"kind": "reading", "step": step, "monitor": "m", "reading": name, "values": values}


def test_every_layer_is_a_row_and_every_step_a_column() -> None:
    records = [reading(10, {"a": 0.1, "b": 0.2}), {"kind": "step", "step": 10, "loss": 2.0}, reading(20, {"a": 0.3, "b": "NaN"})]  # fmt: skip
    found = traces(records, ["stall-ratio", "absent"])
    assert list(found) == ["stall-ratio"]
    trace = found["stall-ratio"]
    assert (trace.layers, trace.steps, trace.range) == (("a", "b"), (10, 20), (0.1, 0.3))
    assert trace.values[0] == (0.1, 0.3)
    assert trace.values[1][0] == 0.2 and math.isnan(trace.values[1][1])


def test_many_steps_are_averaged_into_few_columns() -> None:
    trace = traces([reading(step, {"a": float(step)}) for step in range(1, 1001)], ["stall-ratio"])["stall-ratio"]
    (row,) = trace.values
    assert len(row) == MOST_COLUMNS
    assert list(row) == sorted(row)
    assert row[0] == pytest.approx(1 + (1000 / MOST_COLUMNS) / 2, rel=0.1)


@pytest.mark.parametrize(
    "damaged",
    [reading("x", {"a": 1.0}), reading(5, {"a": "x"}), reading(5, [1.0]), reading(5, None), reading(None, {"a": 1.0}), {"kind": "reading", "reading": "stall-ratio"}],
)  # fmt: skip
def test_a_damaged_record_is_passed_over(damaged: dict[str, Any]) -> None:
    found = traces([damaged, reading(10, {"a": 0.5})], ["stall-ratio"])
    assert found["stall-ratio"].values == ((0.5,),)


def test_a_reading_without_a_finite_value_has_no_range() -> None:
    assert traces([reading(1, {"a": "NaN", "b": "Infinity"})], ["stall-ratio"])["stall-ratio"].range is None

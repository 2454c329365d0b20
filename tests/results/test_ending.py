"""How a run ended, from whatever its summary holds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from altgrad_core.results.ending import Ending

DATA = {"unigram_entropy": 4.0}


@pytest.mark.parametrize(
    ("summary", "status", "stable", "learned"),
    [
        ({"status": "finished", "validation_loss": 3.9, "data": DATA}, "finished", True, True),
        ({"status": "finished", "validation_loss": 4.0, "data": DATA}, "finished", True, False),
        ({"status": "finished", "validation_loss": 4.0}, "finished", True, True),
        ({"status": "finished", "validation_loss": 9.0, "data": {"unigram_entropy": None}}, "finished", True, True),
        ({"status": "finished", "validation_loss": "NaN", "data": DATA}, "diverged", False, False),
        ({"status": "finished", "validation_loss": 1e39, "data": DATA}, "diverged", False, False),
        ({"status": "finished", "validation_loss": None}, "finished", False, False),
        ({"status": "stopped", "validation_loss": 2.0, "data": DATA}, "stopped", False, False),
        ({"status": "finished", "validation_loss": [], "data": []}, "finished", False, False),
    ],
)
def test_a_summary_tells_how_a_run_ended(summary: dict[str, Any], status: str, stable: bool, learned: bool) -> None:
    found = Ending.of(summary)
    assert found is not None
    assert (found.status, found.is_stable, found.has_learned) == (status, stable, learned)
    assert found.rank == (found.validation_loss if stable else math.inf)


@pytest.mark.parametrize("summary", [{}, {"status": None}, {"validation_loss": 2.0}])
def test_a_summary_without_a_status_is_no_ending(summary: dict[str, Any]) -> None:
    assert Ending.of(summary) is None

"""The analysis of a study: each part is computed once, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence import analysis as module
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.effects import LOSS, PERPLEXITY
from altgrad_core.experiments.report.write import write_report

PARTS = sorted(name for name in vars(module) if name.endswith("_of"))


def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each part is computed from now on; the functions themselves still run."""
    calls = dict.fromkeys(PARTS, 0)
    for name in PARTS:
        compute = getattr(module, name)

        def count(*arguments: Any, name: str = name, compute: Callable[..., Any] = compute) -> Any:
            calls[name] += 1
            return compute(*arguments)

        monkeypatch.setattr(module, name, count)
    return calls


def test_a_report_computes_each_part_once(
    monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path], grid_of_cells: Any, tmp_path: Path
) -> None:
    directory = write(grid_of_cells({"e5m2": 0.1, "e4m3": 0.0}))
    calls = counted(monkeypatch)
    write_report(directory, tmp_path / "report")
    assert len(calls) >= 10
    assert calls == {**dict.fromkeys(PARTS, 1), "effects_of": 2}  # by loss and by perplexity


def test_both_metrics_have_effects_of_their_own(study: Any, grid_of_cells: Any) -> None:
    analysis = Analysis(study(grid_of_cells({"e5m2": 0.1})))
    assert analysis.effects_by(LOSS) is analysis.effects
    assert analysis.effects_by(PERPLEXITY) is analysis.perplexity_effects
    assert analysis.effects[0].mean != analysis.perplexity_effects[0].mean
